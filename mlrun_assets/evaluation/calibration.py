"""Calibration: how far probabilities can be trusted, and the temperature that corrects them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlrun_assets.records import Calibration, ErrorByChance, ReliabilityBin
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, IntArray, LabelIds, Probabilities

BINS = 15
# A model that is right on every val row would be fitted a temperature of 0, and be sure of all.
TEMPERATURES = (0.2, 5.0)
DRAWS = 2000
# How many rows of all draws are in memory at once.
_ROWS_AT_ONCE = 1 << 21


class Bin(NamedTuple):
    """Rows whose highest probability is between ``low`` and ``high``."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


class ByChance(NamedTuple):
    """The error of a perfectly calibrated model on as many rows: mean and 95th percentile."""

    mean: float
    p95: float


def reliability_bins(probabilities: Probabilities, truth: LabelIds, bins: int = BINS) -> list[Bin]:
    """Mean confidence and accuracy in the non-empty bins of equal width.

    Args:
        probabilities: shape (rows, labels).
        truth: true labels, shape (rows,).
        bins: number of bins between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    number = _bin_numbers(confidence, bins)
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


def expected_calibration_error(
    probabilities: Probabilities, truth: LabelIds, bins: int = BINS
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al., 2017).

    The arguments are those of `reliability_bins`.
    """
    found = reliability_bins(probabilities, truth, bins)
    gap = sum(each.rows * abs(each.confidence - each.accuracy) for each in found)
    return gap / max(1, len(truth))


def calibration_error_by_chance(
    probabilities: Probabilities, seed: int, bins: int = BINS, draws: int = DRAWS
) -> ByChance:
    """The expected calibration error of a perfectly calibrated model, by simulation.

    It is not zero: in a bin of few rows the share that is right is off by chance, and the error
    takes each gap without its sign. So rows are drawn right with the model's own confidence, again
    and again, and the error of each draw is taken (consistency resampling, Broecker and Smith,
    Weather and Forecasting 22, 2007, 651-661).

    Args:
        probabilities: shape (rows, labels).
        seed: of the draws.
        bins: number of bins between 0 and 1.
        draws: how often the rows are drawn.
    """
    confidence = np.sort(probabilities.max(axis=1))
    starts = np.unique(_bin_numbers(confidence, bins), return_index=True)[1]
    generator = np.random.default_rng(seed)
    gaps = np.zeros((draws, len(starts)))
    step = max(1, _ROWS_AT_ONCE // len(confidence))
    for first in range(0, draws, step):
        some = gaps[first : first + step]
        right = generator.random((len(some), len(confidence))) < confidence
        some[:] = np.add.reduceat(confidence - right, starts, axis=1)
    errors = np.abs(gaps).sum(axis=1) / len(confidence)
    return ByChance(float(errors.mean()), float(np.quantile(errors, 0.95)))


def brier_score(probabilities: Probabilities, truth: LabelIds) -> float:
    """Squared distance from the true label, summed over the labels: 0 to 2 (Brier, 1950)."""
    wanted = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def log_loss(probabilities: Probabilities, truth: LabelIds) -> float:
    """Mean negative log-probability of the true label."""
    return float(-_logarithms(probabilities)[np.arange(len(truth)), truth].mean())


def fit_temperature(probabilities: Probabilities, truth: LabelIds) -> float:
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


def scale(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Probabilities of the logits divided by ``temperature``; the predicted label stays the same.

    Logarithms of probabilities are logits as good as those that they come from: the two differ by
    a number a row. An ensemble has no others.
    """
    logits = _logarithms(probabilities) / temperature
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))


def _bin_numbers(confidence: FloatArray, bins: int) -> IntArray:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _logarithms(probabilities: Probabilities) -> FloatArray:
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))


class SplitProbabilities(NamedTuple):
    """Probabilities of shape (rows, labels), and the true label of each row."""

    probabilities: Probabilities
    truth: LabelIds


def calibrate(
    val: SplitProbabilities, test: SplitProbabilities, confidence: float, seed: int
) -> Calibration:
    """Measure the calibration on ``test``, without and with a temperature fitted on ``val``.

    Test rows do not influence the temperature, so the improvement is not overstated. ``confidence``
    is that of the intervals of the bins, ``seed`` of the draws that tell what chance does.
    """
    temperature = fit_temperature(*val)
    scaled = SplitProbabilities(scale(test.probabilities, temperature), test.truth)
    return Calibration(
        temperature=temperature,
        error=expected_calibration_error(*test),
        error_scaled=expected_calibration_error(*scaled),
        brier=brier_score(*test),
        brier_scaled=brier_score(*scaled),
        bins=_bins(test, confidence),
        bins_scaled=_bins(scaled, confidence),
        chance=_by_chance(test, seed),
        chance_scaled=_by_chance(scaled, seed),
    )


def _bins(believed: SplitProbabilities, confidence: float) -> tuple[ReliabilityBin, ...]:
    bins = []
    for each in reliability_bins(*believed):
        low, high = wilson_interval(round(each.accuracy * each.rows), each.rows, confidence)
        bins.append(ReliabilityBin(**each._asdict(), accuracy_low=low, accuracy_high=high))
    return tuple(bins)


def _by_chance(believed: SplitProbabilities, seed: int) -> ErrorByChance:
    return ErrorByChance(**calibration_error_by_chance(believed.probabilities, seed)._asdict())
