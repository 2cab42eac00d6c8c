"""How far probabilities can be believed, and the temperature that mends them: pure functions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BINS = 15
# A model that is right on every val row would be fitted a temperature of 0, and be sure of all.
TEMPERATURES = (0.2, 5.0)


class Bin(NamedTuple):
    """Rows whose highest probability lies between ``low`` and ``high``."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability_bins(probabilities: Floats, truth: Counts, bins: int = BINS) -> list[Bin]:
    """Mean confidence and accuracy in the bins of equal width that hold a row.

    Args:
        probabilities: shape (rows, labels).
        truth: true labels, shape (rows,).
        bins: number of bins between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    number = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        Bin(
            low=float(each / bins),
            high=float((each + 1) / bins),
            rows=int((number == each).sum()),
            confidence=float(confidence[number == each].mean()),
            accuracy=float(correct[number == each].mean()),
        )
        for each in np.unique(number)
    ]


def expected_calibration_error(probabilities: Floats, truth: Counts, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., 2017).

    The arguments are those of `reliability_bins`.
    """
    found = reliability_bins(probabilities, truth, bins)
    gap = sum(each.rows * abs(each.confidence - each.accuracy) for each in found)
    return gap / max(1, len(truth))


def brier_score(probabilities: Floats, truth: Counts) -> float:
    """Squared distance from the true label, summed over the labels: 0 to 2 (Brier, 1950)."""
    wanted = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def log_loss(probabilities: Floats, truth: Counts) -> float:
    """Mean negative log-probability of the true label."""
    return float(-_logarithms(probabilities)[np.arange(len(truth)), truth].mean())


def fit_temperature(probabilities: Floats, truth: Counts) -> float:
    """The temperature with the least log-loss (Guo et al., 2017), between `TEMPERATURES`.

    The loss is convex in the inverse of the temperature, so it has one minimum, which may lie on a
    bound. The arguments are those of `reliability_bins`.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda logarithm: log_loss(scale(probabilities, float(np.exp(logarithm))), truth),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def scale(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities of the logits divided by ``temperature``; the likeliest label stays so.

    Logarithms of probabilities are logits as good as those that they come from: the two differ by
    a number a row. A mixture's have no others.
    """
    logits = _logarithms(probabilities) / temperature
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))


def _logarithms(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))
