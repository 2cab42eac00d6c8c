"""Calibration of the challenger: fitted on val, told of test."""

from __future__ import annotations

from typing import NamedTuple

from mlrun_assets.arrays import LabelIds, Probabilities
from mlrun_assets.calibration import (
    brier_score,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    scale,
)
from mlrun_assets.records import Calibration, ErrorByChance, ReliabilityBin
from mlrun_assets.statistics import wilson_interval


class Believed(NamedTuple):
    """Probabilities of shape (rows, labels), and the true label of each row."""

    probabilities: Probabilities
    truth: LabelIds


def calibrate(val: Believed, test: Believed, confidence: float, seed: int) -> Calibration:
    """How far the probabilities on ``test`` can be believed, as they are and with a temperature.

    Test rows have no part in the temperature, so what it mends is not flattered. ``confidence``
    is that of the intervals of the bins, ``seed`` of the draws that tell what chance does.
    """
    temperature = fit_temperature(*val)
    scaled = Believed(scale(test.probabilities, temperature), test.truth)
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


def _bins(believed: Believed, confidence: float) -> tuple[ReliabilityBin, ...]:
    bins = []
    for each in reliability_bins(*believed):
        low, high = wilson_interval(round(each.accuracy * each.rows), each.rows, confidence)
        bins.append(ReliabilityBin(**each._asdict(), accuracy_low=low, accuracy_high=high))
    return tuple(bins)


def _by_chance(believed: Believed, seed: int) -> ErrorByChance:
    return ErrorByChance(**calibration_error_by_chance(believed.probabilities, seed)._asdict())
