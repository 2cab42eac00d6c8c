"""How far probabilities can be trusted: calibration, and precision by confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlrun_assets.evaluation.comparison import ChallengerPredictions
from mlrun_assets.records import AcceptedRows, Calibration, ErrorByChance, ReliabilityBin, Score
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, IntArray, LabelIds, Probabilities

BINS = 15
CURVE_POINTS = 20
DRAWS = 2000
# How many rows of all draws are in memory at once.
_ROWS_AT_ONCE = 1 << 21


def calibrate(test: ChallengerPredictions) -> Calibration:
    """Measure the calibration of the deployed probabilities on ``test``."""
    confidence, seed = test.config.evaluation.confidence, test.config.training.seed
    bins = reliability_bins(test.probabilities, test.truth, confidence)
    return Calibration(
        error=expected_calibration_error(bins),
        brier=brier_score(test.probabilities, test.truth),
        bins=bins,
        chance=calibration_error_by_chance(test.probabilities, seed),
    )


def accepted_rows(test: ChallengerPredictions, threshold: float) -> AcceptedRows:
    """The share of ``test`` with at least that confidence, and its precision."""
    accepted = test.probabilities.max(axis=1) >= threshold
    rows, right = int(accepted.sum()), int((accepted & test.right).sum())

    def share(part: int, whole: int) -> Score:
        low, high = wilson_interval(part, whole, test.config.evaluation.confidence)
        return Score(value=part / whole, low=low, high=high)

    return AcceptedRows(
        confidence=threshold,
        rows=rows,
        coverage=share(rows, len(accepted)),
        precision=share(right, rows) if rows else None,
    )


def coverage_curve(test: ChallengerPredictions) -> tuple[AcceptedRows, ...]:
    """The accepted rows at thresholds that accept from a twentieth of ``test`` to all of it."""
    confidences = np.sort(test.probabilities.max(axis=1))[::-1]
    last = np.ceil(np.linspace(0.05, 1.0, CURVE_POINTS) * len(confidences)).astype(np.int64) - 1
    thresholds = np.unique(confidences[last])[::-1].tolist()
    return tuple(accepted_rows(test, threshold) for threshold in thresholds)


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


def _bin_numbers(confidence: FloatArray) -> IntArray:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
