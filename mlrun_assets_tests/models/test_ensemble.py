from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.models.ngrams import PRIOR, fit_weights
from mlrun_assets.types import FloatArray, LabelIds


def noisy(truth: LabelIds, strength: float, seed: int) -> FloatArray:
    logits = np.random.default_rng(seed).normal(size=(len(truth), 3))
    logits[np.arange(len(truth)), truth] += strength
    return logits


def log_loss(combined: FloatArray, truth: LabelIds) -> float:
    shifted = combined - combined.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_shares[np.arange(len(truth)), truth].mean())


@settings(deadline=None, max_examples=30)
@given(
    strengths=st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 4.0)),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_no_other_weights_have_a_smaller_loss(
    strengths: tuple[float, float], scale: float, seed: int
) -> None:
    truth = np.random.default_rng(seed).integers(0, 3, size=90)
    logits = noisy(truth, strengths[0], seed + 1)
    scores = scale * noisy(truth, strengths[1], seed + 2)
    weights = fit_weights(logits, scores, truth)
    assert min(weights) >= 0

    def penalised(encoder: float, ngrams: float) -> float:
        squares = (encoder * logits.std()) ** 2 + (ngrams * scores.std()) ** 2
        loss = log_loss(encoder * logits + ngrams * scores, truth)
        return loss + float(squares) / (2 * PRIOR**2 * len(truth))

    least = penalised(*weights)
    for encoder in (0.8, 1.0, 1.25):
        for ngrams in (0.8, 1.0, 1.25):
            assert least <= penalised(weights.encoder * encoder, weights.ngrams * ngrams) + 1e-7


def test_a_model_that_knows_nothing_hardly_counts() -> None:
    truth = np.random.default_rng(0).integers(0, 3, size=3000)
    weights = fit_weights(noisy(truth, 3.0, 1), noisy(truth, 0.0, 2), truth)
    assert weights.ngrams < 0.1 * weights.encoder


def test_two_that_err_differently_are_better_together() -> None:
    fit, judge = np.random.default_rng(3).integers(0, 3, size=(2, 2000))
    weights = fit_weights(noisy(fit, 1.0, 4), noisy(fit, 1.0, 5), fit)
    logits, scores = noisy(judge, 1.0, 6), noisy(judge, 1.0, 7)
    combined = weights.encoder * logits + weights.ngrams * scores

    def accuracy(values: FloatArray) -> float:
        return float((values.argmax(axis=1) == judge).mean())

    assert accuracy(combined) > max(accuracy(logits), accuracy(scores)) + 0.05
    assert weights.encoder == pytest.approx(weights.ngrams, rel=0.15)
