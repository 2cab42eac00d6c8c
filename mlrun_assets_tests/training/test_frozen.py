"""The frozen encoder and its linear head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlrun_assets.data.splitting import LabelledRows
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.training.candidates import fit_head
from mlrun_assets.training.frozen import (
    SHRINKAGE,
    FrozenEncoder,
    fit_discriminant,
    label_sentences,
)
from mlrun_assets.types import FloatArray, LabelIds
from mlrun_assets_tests.encoders.tiny_encoders import write_encoder
from mlrun_assets_tests.examples import LABELS, changed, sample_rows, tiny_job


def clouds(counts: list[int], width: int = 6) -> tuple[FloatArray, LabelIds]:
    """Rows around a mean of each label, far from zero."""
    random = np.random.default_rng(1)
    truth = np.repeat(np.arange(len(counts)), counts)
    means = 40.0 + 2.0 * random.normal(size=(len(counts), width))
    return means[truth] + random.normal(size=(len(truth), width)), truth


def shares(scores: FloatArray) -> FloatArray:
    exponent = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("counts", [[30, 30, 30], [50, 20, 3], [30, 9], [20] * 12])
def test_the_head_is_scikit_learns_discriminant_with_equal_priors(counts: list[int]) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    states, truth = clouds(counts)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(states, truth)
    weights, biases = fit_discriminant(states, truth, len(counts))
    expected = model.predict_proba(states) / model.priors_  # its priors are the labels' shares
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares(states @ weights.T + biases), expected, atol=1e-9)


def test_a_label_with_one_row_is_learned() -> None:
    states, truth = clouds([20, 20, 1])
    weights, biases = fit_discriminant(states, truth, 3)
    assert (states @ weights.T + biases).argmax(axis=1)[-1] == 2


def test_a_label_without_rows_is_no_answer_and_costs_no_more_than_another_wrong_one() -> None:
    states, truth = clouds([20, 20, 20])
    weights, biases = fit_discriminant(states, truth * 2, 5)  # 1 and 3 have no rows
    scores = states @ weights.T + biases
    assert not np.isin(scores.argmax(axis=1), (1, 3)).any()
    assert (scores[:, 1] > scores[:, [0, 2, 4]].min(axis=1)).mean() > 0.8


def test_one_label_alone_and_states_that_do_not_differ_are_fitted() -> None:
    weights, biases = fit_discriminant(np.ones((4, 3)), np.zeros(4, dtype=np.int64), 2)
    assert np.isfinite(weights).all() and np.isfinite(biases).all()


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize("trim", [False, True])
def test_the_saved_classifier_gives_the_linear_map_of_the_states(
    family: str, trim: bool, tmp_path: Path
) -> None:
    write_encoder(family, tmp_path / "encoder")
    job = changed(tiny_job(tmp_path / "job", tmp_path / "encoder"), trim_vocabulary=trim)
    encoder = FrozenEncoder(job)
    texts = ["", "gool", *(row["text"] for row in sample_rows("test")[:40])]
    states = encoder.states(texts)
    truth = np.arange(len(texts)) % 3
    weights, biases = fit_discriminant(states, truth, 3)
    encoder.save((weights, biases), tmp_path / "frozen")
    predictor = Predictor(tmp_path / "frozen", 32, exact=True)
    assert predictor.labels == LABELS
    expected = states @ weights.T + biases
    np.testing.assert_allclose(predictor.logits(texts), expected, atol=1e-4)
    assert (encoder.trim is not None) == trim
    assert np.unique(expected.argmax(axis=1)).size == 3


def test_the_name_of_a_label_is_written_as_words() -> None:
    found = label_sentences(["science/technology", "local_news", "siyaasad", "गाँव"])
    about = ("science technology", "local news", "siyaasad", "गाँव")
    assert found == [f"This text is about {each}." for each in about]
    assert label_sentences(["politics", "1"]) == []


@pytest.mark.parametrize("known", ["the means", "the means of other labels"])
def test_names_help_where_rows_are_few_and_do_no_harm_if_they_say_nothing(known: str) -> None:
    random = np.random.default_rng(2)
    means = random.normal(size=(5, 60))
    truth = np.repeat(np.arange(5), 4)
    states = 5.0 + means[truth] + 2.5 * random.normal(size=(20, 60))
    others = np.repeat(np.arange(5), 200)
    asked = 5.0 + means[others] + 2.5 * random.normal(size=(1000, 60))
    ids = [str(number) for number in range(20)]
    labels = ("a", "b", "c", "d", "e")
    rows = LabelledRows(ids, ids, truth, truth < 0, np.arange(20) % 4, labels)

    def accuracy(sentences: FloatArray) -> tuple[float, float | None]:
        head, scores, share = fit_head(rows, states, sentences, states[:0], truth[:0])
        assert scores.shape == (20, 5)
        return float(((asked @ head[0].T + head[1]).argmax(axis=1) == others).mean()), share

    alone, no_share = accuracy(states[:0])
    named, share = accuracy(-3.0 + (means if known == "the means" else np.roll(means, 1, axis=0)))
    assert no_share is None
    assert share is not None
    if known == "the means":
        assert named > alone + 0.1
        assert share > 0.4
    else:
        assert named > alone - 0.02
        assert share < 0.1
