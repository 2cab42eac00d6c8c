from __future__ import annotations

import numpy as np
import pytest

from mlrun_assets.training.job import FineTuningJob
from mlrun_assets_tests.examples import sample_rows
from mlrun_assets_tests.models.test_ids_read import Spy
from mlrun_assets_tests.training.test_fine_tuning import job as job  # noqa: PLC0414  a fixture

TEXTS = [row["text"] for split in ("train", "val", "test") for row in sample_rows(split)]


@pytest.fixture
def undecided(job: FineTuningJob) -> FineTuningJob:
    """A model that finds all labels about as likely, so that many of its calls are close."""
    import torch
    from safetensors.torch import load_file, save_file

    from mlrun_assets.models.predictor import Predictor
    from mlrun_assets.training.fine_tuning import fine_tune

    fine_tune(job)
    leaning = Predictor(job.model_dir, 32).logits(TEXTS).mean(axis=0)
    weights = job.model_dir / "model.safetensors"
    tensors = load_file(weights)
    tensors["classifier.bias"] -= torch.tensor(leaning, dtype=torch.float32)
    save_file(tensors, weights, metadata={"format": "pt"})
    return job


def test_labels_are_those_of_float32(
    undecided: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.models import predictor as prediction

    exact = prediction.Predictor(undecided.model_dir, 32, exact=True).probabilities(TEXTS)
    monkeypatch.setattr(prediction, "_multiplies_bfloat16", lambda: True)
    predictor = prediction.Predictor(undecided.model_dir, 32)
    quick = predictor.probabilities(TEXTS)
    # Labels that are closer together than float32 can tell are no label's.
    told_apart = np.diff(np.sort(exact, axis=1)[:, -2:])[:, 0] > 1e-6
    assert told_apart.mean() > 0.9
    assert (quick.argmax(axis=1) == exact.argmax(axis=1))[told_apart].all()
    monkeypatch.setattr(prediction, "CLOSE_CALL", 0.0)
    draft = predictor.probabilities(TEXTS)
    assert (draft.argmax(axis=1) != exact.argmax(axis=1)).any()
    np.testing.assert_allclose(draft, exact, atol=0.01)


def test_no_texts_have_no_probabilities(undecided: FineTuningJob) -> None:
    from mlrun_assets.models.predictor import Predictor

    assert Predictor(undecided.model_dir, 32).probabilities([]).shape == (0, 3)


def test_a_long_text_is_not_tokenised_whole(
    undecided: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.models.predictor import Predictor

    predictor = Predictor(undecided.model_dir, 32, exact=True)
    text = " ".join(TEXTS)
    spy = Spy(predictor._tokenizer)
    monkeypatch.setattr(predictor, "_tokenizer", spy)
    logits = predictor.logits([text])
    assert max(spy.given) < 1000 < len(text)
    assert (logits == predictor.logits([text[:400]])).all()
