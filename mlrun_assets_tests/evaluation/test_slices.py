"""Labels and slices of the test split, and what two models reach on each."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.config import Config, DataConfig
from mlrun_assets.evaluation.comparison import (
    ChallengerPredictions,
    compare_slice,
    score_slice,
    slices_of,
)


def frame(rows: int, **columns: list[Any]) -> pl.DataFrame:
    facts: dict[str, list[Any]] = {
        "id": [str(number) for number in range(rows)],
        "tokens": list(range(10, 10 + rows)),
        "code_switched": [False] * rows,
    }
    schema = {"tokens": pl.Int64, "code_switched": pl.Boolean}
    return pl.DataFrame({**facts, **columns}, schema_overrides=schema)


def rows_of(split: pl.DataFrame, max_length: int = 1000, **data: Any) -> dict[str, list[int]]:
    return {
        part.name: part.rows.tolist() for part in slices_of(split, DataConfig(**data), max_length)
    }


def test_lengths_are_cut_in_three_and_what_is_the_same_for_all_rows_is_no_slice() -> None:
    tokens = [50, 10, 30, 20, 60, 40]
    assert rows_of(frame(6, tokens=tokens)) == {
        "length: short": [1, 3],
        "length: medium": [2, 5],
        "length: long": [0, 4],
    }
    assert "truncated: yes" not in rows_of(frame(6), max_length=5)


def test_truncated_and_code_switched_rows_and_the_others_are_two_slices_each() -> None:
    switched = [False, True, False, True]
    found = rows_of(frame(4, tokens=[31, 32, 33, 90], code_switched=switched), max_length=32)
    assert (found["truncated: yes"], found["truncated: no"]) == ([2, 3], [0, 1])
    assert (found["code-switched: yes"], found["code-switched: no"]) == ([1, 3], [0, 2])


def test_a_configured_column_has_a_slice_for_each_value_and_none_for_rows_without() -> None:
    found = rows_of(
        frame(5, extra_source=["VOA", "BBC", None, "VOA", ""]), slice_columns=["source"]
    )
    assert {name: rows for name, rows in found.items() if name.startswith("source")} == {
        "source: ": [4],
        "source: BBC": [1],
        "source: VOA": [0, 3],
    }


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), max_size=80), st.integers(8, 300))
def test_every_row_is_in_one_slice_of_each_kind(tokens: list[int], max_length: int) -> None:
    switched = [number % 7 == 0 for number in tokens]
    found = rows_of(frame(len(tokens), tokens=tokens, code_switched=switched), max_length)
    for kind in {name.split(":")[0] for name in found}:
        members = [row for name, rows in found.items() if name.startswith(kind) for row in rows]
        assert sorted(members) == list(range(len(tokens)))


def judged(wrong: int) -> ChallengerPredictions:
    """Sixty rows of each of two labels and ten of a third, of which ``wrong`` a label are wrong."""
    truth = np.repeat([0, 1, 2], [60, 60, 10])
    guess = truth.copy()
    for first in (0, 60):
        guess[first : first + wrong] = 2
    split = frame(130, code_switched=[False] * 110 + [True] * 20)
    return ChallengerPredictions(split, truth, np.eye(3)[guess], ("a", "b", "c"), Config())


def test_slices_of_fewer_than_thirty_rows_have_no_accuracy() -> None:
    scores = {f"{part.column}: {part.value}": part for part in judged(6).score_slices()}
    assert scores["code-switched: yes"].rows == 20
    assert scores["code-switched: yes"].accuracy is None
    whole = scores["code-switched: no"].accuracy
    assert whole is not None
    assert whole.value == pytest.approx(98 / 110)
    assert whole.low < whole.value < whole.high
    exact = [part for part in slices_of(frame(90), DataConfig(), 1000) if len(part.rows) == 30]
    assert score_slice(exact[0], np.ones(90, dtype=bool), 0.95).accuracy is not None


def test_both_models_recall_by_label_and_slice_where_there_are_rows_enough() -> None:
    challenger = judged(12)
    comparison = challenger.compare("v1", judged(3).predicted_ids)
    assert [part.name for part in comparison.labels] == ["a", "b"]
    first = comparison.labels[0]
    assert (first.rows, first.recall, first.other_recall) == (60, 48 / 60, 57 / 60)
    assert first.loss.value == pytest.approx(9 / 60)
    assert 0 < first.loss.low < first.loss.value < first.loss.high
    assert {part.name for part in comparison.slices} == {
        "length: short",
        "length: medium",
        "length: long",
        "truncated: no",
        "code-switched: no",
    }
    long = next(part for part in comparison.slices if part.name == "length: long")
    assert (long.rows, long.recall, long.other_recall) == (43, 1.0, 1.0)
    assert long.loss.low < 0 < long.loss.high
    assert comparison.joint_confidence == pytest.approx(1 - 0.05 / 7)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_loss_of_one_model_is_the_gain_of_the_other(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    rows = np.arange(len(pairs))
    loss = compare_slice("all", rows, (first, second), 0.95).loss
    gain = compare_slice("all", rows, (second, first), 0.95).loss
    assert loss.value == pytest.approx(second.mean() - first.mean())
    assert (gain.value, gain.low, gain.high) == pytest.approx((-loss.value, -loss.high, -loss.low))


def with_leaks(leaks: list[bool] | None) -> ChallengerPredictions:
    truth, guess = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 1, 0, 1, 1, 0])
    split = frame(6, **({"leaks": leaks} if leaks else {}))
    return ChallengerPredictions(split, truth, np.eye(2)[guess], ("a", "b"), Config())


def test_leaking_rows_are_left_out() -> None:
    scores = with_leaks([True, True, False, False, False, False]).score_without_leaks()
    assert scores is not None
    assert (scores.rows, scores.accuracy.value) == (4, 0.5)


@pytest.mark.parametrize("leaks", [None, [False] * 6, [True] * 6])
def test_without_a_difference_there_is_nothing_to_show(leaks: list[bool] | None) -> None:
    assert with_leaks(leaks).score_without_leaks() is None
