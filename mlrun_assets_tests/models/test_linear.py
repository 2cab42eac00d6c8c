from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlrun_assets.models.ngrams import Fitted, _models, fit_best, read, save_fitted, set_weights
from mlrun_assets.models.served.ngram_scorer import NgramScorer
from mlrun_assets.types import LabelIds
from mlrun_assets_tests.examples import sample_rows


def split(name: str, labels: tuple[str, ...]) -> tuple[list[str], LabelIds]:
    rows = [row for row in sample_rows(name) if row["label"] in labels]
    numbers = np.array([labels.index(row["label"]) for row in rows], dtype=np.int64)
    return [row["text"] for row in rows], numbers


@pytest.mark.parametrize("labels", [("farming", "health", "sports"), ("health", "sports")])
@pytest.mark.parametrize("name", ["linear SVM", "logistic regression", "complement naive Bayes"])
def test_a_saved_model_scores_as_the_fitted_one(
    name: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    texts, truth = split("train", labels)
    model = _models(seed=1)[name].fit(read(texts), truth)
    save_fitted(Fitted(model, name, ()), labels, tmp_path)
    others = split("test", labels)[0]
    scores = NgramScorer(tmp_path).scores(others)
    assert scores.shape == (len(others), len(labels))
    np.testing.assert_array_equal(scores.argmax(axis=1), model.predict(read(others)))
    if name == "complement naive Bayes":
        expected = model[-1]._joint_log_likelihood(model[0].transform(read(others)))
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
    else:
        decision = model.decision_function(read(others))
        margin = scores[:, 1] - scores[:, 0] if len(labels) == 2 else scores
        np.testing.assert_allclose(margin, decision, atol=1e-4)


def test_only_the_first_words_of_a_text_are_read(tmp_path: Path) -> None:
    labels = ("farming", "health", "sports")
    fitted = fit_best(split("train", labels), split("val", labels), seed=1)
    save_fitted(fitted, labels, tmp_path)
    scorer = NgramScorer(tmp_path)
    text = " ".join(["beeraha"] * 128)
    np.testing.assert_array_equal(scorer.scores([text]), scorer.scores([text + " kubadda cagta"]))
    np.testing.assert_array_equal(scorer.scores([" \n " + text]), scorer.scores([text]))


def test_texts_without_a_known_ngram_get_the_bias(tmp_path: Path) -> None:
    labels = ("farming", "health", "sports")
    fitted = fit_best(split("train", labels), split("val", labels), seed=1)
    save_fitted(fitted, labels, tmp_path)
    empty, unknown = NgramScorer(tmp_path).scores(["", "日本語"])
    np.testing.assert_array_equal(empty, unknown)


def test_the_weights_are_kept(tmp_path: Path) -> None:
    labels = ("farming", "health", "sports")
    save_fitted(fit_best(split("train", labels), split("val", labels), 1), labels, tmp_path)
    set_weights(tmp_path, 0.25, 3.0)
    scorer = NgramScorer(tmp_path)
    assert (scorer.encoder_weight, scorer.ngram_weight) == (0.25, 3.0)
    assert scorer.labels == labels
    assert scorer.combine(4.0, 2.0) == pytest.approx(7.0)


@pytest.mark.parametrize("name", ["linear SVM", "logistic regression", "complement naive Bayes"])
@pytest.mark.parametrize("known", [("farming", "sports"), ("farming", "health", "sports")])
def test_a_label_without_a_training_row_is_never_the_answer(
    name: str, known: tuple[str, ...], tmp_path: Path
) -> None:
    labels = ("farming", "absent", "health", "sports")
    texts, truth = split("train", known)
    numbers = np.array([labels.index(known[number]) for number in truth])
    model = _models(seed=1)[name].fit(read(texts), numbers)
    save_fitted(Fitted(model, name, ()), labels, tmp_path)
    others = split("test", known)[0]
    scores = NgramScorer(tmp_path).scores(others)
    assert scores.shape == (len(others), 4)
    np.testing.assert_array_equal(scores.argmax(axis=1), model.predict(read(others)))
