"""Scores with and without the test rows that other splits know."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlrun_assets.config import Config
from mlrun_assets.evaluation.comparison import ChallengerPredictions
from mlrun_assets.metrics import over_seeds, seed_scores


def judged(leaks: list[bool] | None) -> ChallengerPredictions:
    truth = np.array([0, 1, 0, 1, 0, 1])
    guess = np.array([0, 1, 0, 1, 1, 0])
    frame = pl.DataFrame({"id": [str(number) for number in range(6)]})
    if leaks is not None:
        frame = frame.with_columns(leaks=pl.Series(leaks))
    return ChallengerPredictions(frame, truth, guess, ("a", "b"), Config())


def test_leaking_rows_are_left_out() -> None:
    scores = judged([True, True, False, False, False, False]).score_without_leaks()
    assert scores is not None
    assert scores.rows == 4
    assert scores.accuracy.value == pytest.approx(0.5)


@pytest.mark.parametrize("leaks", [None, [False] * 6, [True] * 6])
def test_without_a_difference_there_is_nothing_to_show(leaks: list[bool] | None) -> None:
    assert judged(leaks).score_without_leaks() is None


def test_the_spread_over_seeds_is_that_of_a_sample() -> None:
    truth = np.array([0, 1, 0, 1, 0, 1])
    guesses = {
        13: np.array([0, 1, 0, 1, 0, 1]),
        42: np.array([0, 1, 0, 1, 0, 0]),
        87: np.array([0, 1, 0, 1, 1, 0]),
    }
    seeds = tuple(seed_scores(seed, truth, guess) for seed, guess in guesses.items())
    assert [seed.accuracy for seed in seeds] == pytest.approx([1.0, 5 / 6, 4 / 6])
    assert seeds[2].f1_macro == pytest.approx(2 / 3)
    spread = over_seeds(seeds)
    assert spread is not None
    assert (spread.accuracy.mean, spread.accuracy.sd) == pytest.approx((5 / 6, 1 / 6))
    assert over_seeds(seeds[:1]) is over_seeds(()) is None
