from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from mlrun_assets.config import Config
from mlrun_assets.evaluation.calibration import (
    BINS,
    accepted_rows,
    brier_score,
    calibration_error_by_chance,
    coverage_curve,
    expected_calibration_error,
    reliability_bins,
)
from mlrun_assets.evaluation.comparison import ChallengerPredictions
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, LabelIds

# Of three decimals: labels that are apart by less than a rounding error have no order to keep.
LOGITS = arrays(np.float64, (12, 3), elements=st.integers(-30_000, 30_000).map(lambda n: n / 1000))
TRUTH = np.arange(12) % 3


def error_of(probabilities: FloatArray, truth: LabelIds) -> float:
    return expected_calibration_error(reliability_bins(probabilities, truth, 0.95))


def predictions(rows: int = 400) -> tuple[FloatArray, LabelIds]:
    """Probabilities, and labels that are drawn from them."""
    generator = np.random.default_rng(3)
    probabilities = softmax(generator.normal(0, 1.5, (rows, 4)), axis=1)
    return probabilities, np.array([generator.choice(4, p=each) for each in probabilities])


@given(LOGITS)
def test_bins_hold_every_row_once_with_the_interval_of_their_accuracy(logits: FloatArray) -> None:
    probabilities = softmax(logits, axis=1)
    found = reliability_bins(probabilities, TRUTH, 0.95)
    assert sum(each.rows for each in found) == len(TRUTH)
    right = sum(each.rows * each.accuracy for each in found)
    assert right == pytest.approx((probabilities.argmax(axis=1) == TRUTH).sum())
    for each in found:
        assert each.low - 1e-9 <= each.confidence <= each.high + 1e-9
        interval = wilson_interval(round(each.rows * each.accuracy), each.rows, 0.95)
        assert (each.accuracy_low, each.accuracy_high) == interval


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    (found,) = reliability_bins(np.array([[1.0, 0.0]]), np.array([0]), 0.95)
    assert (found.low, found.high) == ((BINS - 1) / BINS, 1.0)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    truth = np.array([0, 1, 0, 1])
    # Confidence 0.9 is right half of the time, 0.6 always.
    assert error_of(probabilities, truth) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


@pytest.mark.parametrize("rows", [106, 1000])
def test_what_chance_gives_is_what_calibrated_models_have(rows: int) -> None:
    """Their labels are drawn here from all of their probabilities, one split at a time."""
    generator = np.random.default_rng(7)
    probabilities = softmax(generator.normal(0, 1.5, (rows, 4)), axis=1)
    below = probabilities.cumsum(axis=1)
    bins = (probabilities.max(axis=1) * BINS).astype(int)
    errors = []
    for _ in range(1500):
        truth = (generator.random((rows, 1)) > below).sum(axis=1).clip(max=3)
        gaps = probabilities.max(axis=1) - (probabilities.argmax(axis=1) == truth)
        errors.append(np.abs(np.bincount(bins, gaps)).sum() / rows)
    chance = calibration_error_by_chance(probabilities, seed=3)
    assert chance.mean == pytest.approx(np.mean(errors), rel=0.03)
    assert chance.p95 == pytest.approx(np.quantile(errors, 0.95), rel=0.05)
    assert chance.mean > 0.08 if rows == 106 else chance.mean < 0.04


def test_chance_by_hand_in_whatever_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # One row of confidence 0.6 is off by 0.4 six times in ten, and by 0.6 four times.
    one = np.array([[0.6, 0.4]])
    chance = calibration_error_by_chance(one, seed=1)
    assert chance.mean == pytest.approx(0.48, abs=0.01)
    assert chance.p95 == pytest.approx(0.6)
    probabilities, _ = predictions(50)
    whole = calibration_error_by_chance(probabilities, seed=1)
    monkeypatch.setattr("mlrun_assets.evaluation.calibration._ROWS_AT_ONCE", 130)
    assert calibration_error_by_chance(probabilities, seed=1) == whole
    assert calibration_error_by_chance(probabilities, seed=2) != whole


def test_brier_score_by_hand_and_by_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss

    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    by_hand = (0.3**2 + 0.2**2 + 0.1**2 + 0.0 + 1.0 + 1.0) / 2
    assert brier_score(probabilities, np.array([0, 2])) == pytest.approx(by_hand)
    drawn, truth = predictions()
    theirs = brier_score_loss(truth, drawn, labels=[0, 1, 2, 3], scale_by_half=False)
    assert brier_score(drawn, truth) == pytest.approx(theirs)


def test_accepted_rows_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    test = ChallengerPredictions(
        pl.DataFrame(), np.array([0, 1, 0, 1]), probabilities, ("a", "b"), Config()
    )
    found = accepted_rows(test, 0.7)
    assert (found.rows, found.coverage.value) == (3, 0.75)
    assert found.precision and found.precision.value == pytest.approx(2 / 3)
    assert (found.precision.low, found.precision.high) == wilson_interval(2, 3, 0.95)
    nothing = accepted_rows(test, 0.95)
    assert (nothing.rows, nothing.coverage.value, nothing.precision) == (0, 0.0, None)
    assert [each.rows for each in coverage_curve(test)] == [1, 2, 3, 4]
