"""Calibration: how far probabilities can be trusted, and the temperature that corrects them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun_assets.evaluation.comparison import ChallengerPredictions
from mlrun_assets.records import Calibration, ErrorByChance, ReliabilityBin
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, IntArray, LabelIds, Probabilities

BINS = 15
# A model that is right on every val row would be fitted a temperature of 0, and be sure of all.
TEMPERATURES = (0.2, 5.0)
DRAWS = 2000
# How many rows of all draws are in memory at once.
_ROWS_AT_ONCE = 1 << 21


def calibrate(val: ChallengerPredictions, test: ChallengerPredictions) -> Calibration:
    """Measure the calibration on ``test``, without and with a temperature fitted on ``val``.

    Test rows do not influence the temperature, so the improvement is not overstated.
    """
    temperature = fit_temperature(val.probabilities, val.truth)
    confidence, seed = test.config.evaluation.confidence, test.config.training.seed
    measured: dict[str, Any] = {}
    scaled = scale(test.probabilities, temperature)
    for suffix, each in (("", test.probabilities), ("_scaled", scaled)):
        bins = reliability_bins(each, test.truth, confidence)
        measured |= {
            f"error{suffix}": expected_calibration_error(bins),
            f"brier{suffix}": brier_score(each, test.truth),
            f"bins{suffix}": bins,
            f"chance{suffix}": calibration_error_by_chance(each, seed),
        }
    return Calibration(temperature=temperature, **measured)


def reliability_bins(
    probabilities: Probabilities, truth: LabelIds, confidence: float
) -> tuple[ReliabilityBin, ...]:
    """The non-empty of `BINS` bins of equal width; ``confidence`` is that of their intervals.

    ``probabilities`` has the shape (rows, labels), ``truth`` the shape (rows,).
    """
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    numbers = _bin_numbers(highest)
    bins = []
    for number in np.unique(numbers).tolist():
        held = right[numbers == number]
        low, high = wilson_interval(int(held.sum()), len(held), confidence)
        bins.append(
            ReliabilityBin(
                low=number / BINS,
                high=(number + 1) / BINS,
                rows=len(held),
                confidence=float(highest[numbers == number].mean()),
                accuracy=float(held.mean()),
                accuracy_low=low,
                accuracy_high=high,
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean gap between confidence and accuracy over the rows of ``bins`` (Guo et al., 2017)."""
    gap = sum(each.rows * abs(each.confidence - each.accuracy) for each in bins)
    return gap / sum(each.rows for each in bins)


def calibration_error_by_chance(probabilities: Probabilities, seed: int) -> ErrorByChance:
    """The expected calibration error of a perfectly calibrated model, from `DRAWS` simulations.

    It is not zero: in a bin of few rows the share that is right is off by chance, and the error
    takes each gap without its sign. So rows are drawn right with the model's own confidence, again
    and again, and the error of each draw is taken (consistency resampling, Broecker and Smith,
    Weather and Forecasting 22, 2007, 651-661).
    """
    confidence = np.sort(probabilities.max(axis=1))
    starts = np.unique(_bin_numbers(confidence), return_index=True)[1]
    generator = np.random.default_rng(seed)
    gaps = np.zeros((DRAWS, len(starts)))
    step = max(1, _ROWS_AT_ONCE // len(confidence))
    for first in range(0, DRAWS, step):
        some = gaps[first : first + step]
        right = generator.random((len(some), len(confidence))) < confidence
        some[:] = np.add.reduceat(confidence - right, starts, axis=1)
    errors = np.abs(gaps).sum(axis=1) / len(confidence)
    return ErrorByChance(mean=float(errors.mean()), p95=float(np.quantile(errors, 0.95)))


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
    bound.
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


def _bin_numbers(confidence: FloatArray) -> IntArray:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def _logarithms(probabilities: Probabilities) -> FloatArray:
    return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)))
