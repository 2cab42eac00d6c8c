from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlrun_assets.training.job import FineTuningJob
from mlrun_assets_tests.examples import LABELS, changed, sample_rows
from mlrun_assets_tests.training.test_fine_tuning import job as job  # noqa: PLC0414  a fixture

SERVE = """
import json, sys
from transformers import pipeline
texts = json.load(sys.stdin)
try:
    pipeline("text-classification", model=sys.argv[1])
    refused = False
except ValueError as error:
    refused = "trust_remote_code" in str(error)
serve = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True)
answers = {
    "refused": refused,
    "package": "mlrun_assets" in sys.modules,
    "one": serve(texts[0]),
    "all": serve(texts, top_k=None, truncation=True, max_length=32),
    "batched": serve(texts, batch_size=8, truncation=True, max_length=32),
    "dict": serve({"text": texts[0]}),
}
json.dump(answers, sys.stdout)
"""


@pytest.fixture
def ensemble(job: FineTuningJob) -> Path:
    from mlrun_assets.models.ngrams import add_ngrams, set_weights
    from mlrun_assets.training.fine_tuning import fine_tune

    fine_tune(changed(job, epochs=2))
    record = add_ngrams(job.model_dir, (job.train_file, job.val_file), 32, seed=1)
    assert record.val_f1_ensemble >= max(record.val_f1_encoder, record.val_f1_ngrams) - 0.1
    assert record.ngram_weight > 0
    # The tiny encoder has learned next to nothing, and would count for nothing.
    set_weights(job.model_dir, 1.0, record.ngram_weight)
    return job.model_dir


def test_the_stock_pipeline_serves_both_models_without_this_package(
    ensemble: Path, tmp_path: Path
) -> None:
    from mlrun_assets.models.predictor import Predictor

    texts = [row["text"] for row in sample_rows("test")][:20]
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(
        [sys.executable, "-c", SERVE, str(ensemble)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    answers = json.loads(run.stdout.strip().splitlines()[-1])
    assert answers["refused"]
    assert not answers["package"]
    probabilities = Predictor(ensemble, 32, exact=True).probabilities(texts)
    names = [LABELS[number] for number in probabilities.argmax(axis=1)]
    assert [answer["label"] for answer in answers["batched"]] == names
    assert answers["one"][0]["label"] == answers["dict"]["label"] == names[0]
    for row, answer in zip(probabilities, answers["all"], strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        np.testing.assert_allclose([scores[label] for label in LABELS], row, atol=1e-4)


def test_the_predictor_combines_what_the_record_says(ensemble: Path) -> None:
    from mlrun_assets.models.predictor import Predictor
    from mlrun_assets.models.served.ngram_scorer import NgramScorer

    texts = [row["text"] for row in sample_rows("test")][:5]
    predictor, scorer = Predictor(ensemble, 32, exact=True), NgramScorer(ensemble)
    combined = scorer.encoder_weight * predictor.logits(texts)
    combined += scorer.ngram_weight * scorer.scores(texts)
    shares = np.exp(combined) / np.exp(combined).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictor.probabilities(texts), shares, rtol=1e-9)


def test_fitting_twice_gives_the_same(job: FineTuningJob) -> None:
    from mlrun_assets.models.ngrams import add_ngrams
    from mlrun_assets.training.fine_tuning import fine_tune

    fine_tune(changed(job, epochs=1))
    splits = (job.train_file, job.val_file)
    first, second = (add_ngrams(job.model_dir, splits, 32, seed=1) for _ in range(2))
    assert first == second
