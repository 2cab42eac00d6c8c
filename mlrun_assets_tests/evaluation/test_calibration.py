from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from mlrun_assets.evaluation.calibration import (
    BINS,
    TEMPERATURES,
    brier_score,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability_bins,
    scale,
)
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, LabelIds

# Of three decimals: labels that are apart by less than a rounding error have no order to keep.
LOGITS = arrays(np.float64, (12, 3), elements=st.integers(-30_000, 30_000).map(lambda n: n / 1000))
TRUTH = np.arange(12) % 3


def error_of(probabilities: FloatArray, truth: LabelIds) -> float:
    return expected_calibration_error(reliability_bins(probabilities, truth, 0.95))


def predictions(temperature: float, rows: int = 400) -> tuple[FloatArray, LabelIds]:
    """Labels drawn from probabilities, and logits that are ``temperature`` times too large."""
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 1.5, (rows, 4))
    drawn = [generator.choice(4, p=each) for each in softmax(logits, axis=1)]
    return logits * temperature, np.array(drawn)


@pytest.mark.parametrize("too_large", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_another_minimiser(too_large: float) -> None:
    logits, truth = predictions(too_large)

    def loss(temperature: FloatArray) -> float:
        return float(-log_softmax(logits / temperature[0], axis=1)[np.arange(400), truth].mean())

    wanted = minimize(loss, x0=[1.0], method="Nelder-Mead").x[0]
    found = fit_temperature(softmax(logits, axis=1), truth)
    assert found == pytest.approx(wanted, rel=1e-3)
    assert found == pytest.approx(too_large, rel=0.25)


def test_a_fitted_temperature_mends_probabilities_that_are_too_sure() -> None:
    logits, truth = predictions(3.0)
    before = softmax(logits, axis=1)
    after = scale(before, fit_temperature(before, truth))
    assert error_of(after, truth) < 0.4 * error_of(before, truth)
    assert brier_score(after, truth) < brier_score(before, truth)


def test_where_every_row_is_right_or_wrong_the_temperature_stays_within_bounds() -> None:
    probabilities = softmax(np.array([[4.0, 0.0], [0.0, 3.0]]), axis=1)
    for truth, bound in zip(([0, 1], [1, 0]), TEMPERATURES, strict=True):
        assert fit_temperature(probabilities, np.array(truth)) == pytest.approx(bound, rel=1e-2)


@given(LOGITS, st.floats(*TEMPERATURES))
def test_scaling_keeps_the_order_of_the_labels_and_sums_to_one(
    logits: FloatArray, temperature: float
) -> None:
    before = softmax(logits, axis=1)
    after = scale(before, temperature)
    np.testing.assert_allclose(after.sum(axis=1), 1.0)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    np.testing.assert_allclose(scale(before, 1.0), before, atol=1e-12)


@given(LOGITS)
def test_the_fitted_temperature_is_no_worse_than_none(logits: FloatArray) -> None:
    before = softmax(logits, axis=1)
    after = scale(before, fit_temperature(before, TRUTH))
    assert log_loss(after, TRUTH) <= log_loss(before, TRUTH) + 1e-6


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
    probabilities = softmax(predictions(1.0, 50)[0], axis=1)
    whole = calibration_error_by_chance(probabilities, seed=1)
    monkeypatch.setattr("mlrun_assets.evaluation.calibration._ROWS_AT_ONCE", 130)
    assert calibration_error_by_chance(probabilities, seed=1) == whole
    assert calibration_error_by_chance(probabilities, seed=2) != whole


def test_brier_score_by_hand_and_by_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss

    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    by_hand = (0.3**2 + 0.2**2 + 0.1**2 + 0.0 + 1.0 + 1.0) / 2
    assert brier_score(probabilities, np.array([0, 2])) == pytest.approx(by_hand)
    logits, truth = predictions(1.0)
    drawn = softmax(logits, axis=1)
    theirs = brier_score_loss(truth, drawn, labels=[0, 1, 2, 3], scale_by_half=False)
    assert brier_score(drawn, truth) == pytest.approx(theirs)
