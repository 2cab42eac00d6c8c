"""Scores with and without the test rows that other splits know."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlrun_assets.config import Config
from mlrun_assets.stages.evaluation import Judged, scores_without_leaks


def judged(leaks: list[bool] | None) -> Judged:
    truth = np.array([0, 1, 0, 1, 0, 1])
    guess = np.array([0, 1, 0, 1, 1, 0])
    frame = pl.DataFrame({"id": [str(number) for number in range(6)]})
    if leaks is not None:
        frame = frame.with_columns(leaks=pl.Series(leaks))
    return Judged(frame, truth, guess, ("a", "b"), Config())


def test_leaking_rows_are_left_out() -> None:
    scores = scores_without_leaks(judged([True, True, False, False, False, False]))
    assert scores is not None
    assert scores.rows == 4
    assert scores.accuracy.value == pytest.approx(0.5)


@pytest.mark.parametrize("leaks", [None, [False] * 6, [True] * 6])
def test_without_a_difference_there_is_nothing_to_show(leaks: list[bool] | None) -> None:
    assert scores_without_leaks(judged(leaks)) is None
