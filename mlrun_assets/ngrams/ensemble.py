"""The weights with which an encoder and an n-gram model are mixed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlrun_assets.arrays import FloatArray, LabelIds

# Standard deviation of a normal prior on the weights, in units in which logits and scores have
# deviation 1. Where val is told apart without an error, the loss alone has its minimum at infinity.
PRIOR = 10.0


class MixWeights(NamedTuple):
    """Factors of the encoder's logits and of the n-gram scores."""

    encoder: float
    ngrams: float


def fit_weights(logits: FloatArray, scores: FloatArray, truth: LabelIds) -> MixWeights:
    """The weights, neither negative, that are likeliest given val: the smallest log-loss.

    The sum of both is a temperature as well (Guo et al., 2017). The problem is convex; with two
    numbers to fit, a hundred rows are enough.

    Args:
        logits: of the encoder, shape (rows, labels).
        scores: of the n-gram model, shape (rows, labels).
        truth: label numbers, shape (rows,).
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    # Complement naive Bayes gives sums over n-grams, an SVM distances: start from one scale.
    scales = np.array([1.0 / max(1e-9, values.std()) for values in (logits, scores)])
    stacked = np.stack([logits * scales[0], scores * scales[1]])
    right = stacked[:, np.arange(len(truth)), truth]

    def penalised(weights: FloatArray) -> tuple[float, FloatArray]:
        mixed = np.tensordot(weights, stacked, axes=1)
        normaliser = logsumexp(mixed, axis=1)
        share = np.exp(mixed - normaliser[:, None])
        gradient = (stacked * share).sum(axis=2).mean(axis=1) - right.mean(axis=1)
        penalty = weights / (PRIOR**2 * len(truth))
        loss = float((normaliser - weights @ right).mean() + weights @ penalty / 2)
        return loss, gradient + penalty

    found = minimize(
        penalised,
        np.ones(2),
        jac=True,
        bounds=[(0.0, None)] * 2,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    encoder, ngrams = found.x * scales
    return MixWeights(float(encoder), float(ngrams))
