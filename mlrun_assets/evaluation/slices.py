"""Labels and slices of the test split, and two models compared on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.records import MIN_ROWS_JUDGED, Score, SliceComparison, SliceScores
from mlrun_assets.statistics import paired_proportion_difference, wilson_interval
from mlrun_assets.types import BoolArray, LabelIds, RowNumbers


class Slice(NamedTuple):
    """Rows that have ``value`` in ``column``; ``rows`` are their positions, in order."""

    column: str
    value: str
    rows: RowNumbers

    @property
    def name(self) -> str:
        return f"{self.column}: {self.value}"


def slices_of(frame: pl.DataFrame, data: DataConfig, max_length: int) -> tuple[Slice, ...]:
    """Terciles of the length, truncated or not, code-switched or not, and `data.slice_columns`.

    ``frame`` is a validated split. A row without a value in a column is in none of its slices;
    if all rows are truncated, or none is, there is no ``truncated`` slice. The same holds for
    code-switching.
    """
    columns = {
        **_in_two(
            {
                "truncated": frame["tokens"] > max_length,
                "code-switched": frame["code_switched"],
            }
        ),
        **{column: frame[extra_column(column)] for column in data.slice_columns},
    }
    by_value = (each for column, values in columns.items() for each in _slices(column, values))
    return (*_terciles(frame["tokens"]), *by_value)


def labels_of(truth: LabelIds, labels: tuple[str, ...]) -> tuple[Slice, ...]:
    """The rows of each label."""
    return tuple(
        Slice("label", label, np.flatnonzero(truth == number))
        for number, label in enumerate(labels)
    )


def score_slice(part: Slice, right: BoolArray, confidence: float) -> SliceScores:
    """Accuracy with Wilson's interval; None for a slice with too few rows."""
    rows, accuracy = len(part.rows), None
    if rows >= MIN_ROWS_JUDGED:
        correct = int(right[part.rows].sum())
        low, high = wilson_interval(correct, rows, confidence)
        accuracy = Score(value=correct / rows, low=low, high=high)
    return SliceScores(column=part.column, value=part.value, rows=rows, accuracy=accuracy)


def joint_confidence(confidence: float, intervals: int) -> float:
    """The confidence of each of ``intervals`` intervals so that all hold with ``confidence``.

    This is the Bonferroni correction for multiple comparisons.
    """
    return 1 - (1 - confidence) / max(1, intervals)


def compare_slice(
    name: str, rows: RowNumbers, right: tuple[BoolArray, BoolArray], confidence: float
) -> SliceComparison:
    """The recall that the first of two models loses against the second on ``rows``."""
    challenger, other = (each[rows] for each in right)
    loss = paired_proportion_difference(
        (
            int((challenger & other).sum()),
            int((other & ~challenger).sum()),
            int((challenger & ~other).sum()),
            int((~challenger & ~other).sum()),
        ),
        confidence,
    )
    return SliceComparison(
        name=name,
        rows=len(rows),
        recall=float(challenger.mean()),
        other_recall=float(other.mean()),
        loss=Score(value=loss.value, low=loss.low, high=loss.high),
    )


def _terciles(tokens: pl.Series) -> Iterator[Slice]:
    """Terciles of the rows; ties keep the order of the rows."""
    order = np.argsort(tokens.to_numpy(), kind="stable")
    for value, rows in zip(("short", "medium", "long"), np.array_split(order, 3), strict=True):
        yield Slice("length", value, np.sort(rows))


def _in_two(columns: Mapping[str, pl.Series]) -> dict[str, pl.Series]:
    """Two slices, yes and no, of each boolean column that has both values."""
    return {
        name: pl.Series(["yes" if each else "no" for each in values], dtype=pl.String)
        for name, values in columns.items()
        if values.any() and not values.all()
    }


def _slices(column: str, values: pl.Series) -> Iterator[Slice]:
    """The rows of each value, in the order of the values."""
    rows = pl.DataFrame({"value": values, "row": np.arange(len(values))}).drop_nulls("value")
    for (value,), found in sorted(rows.group_by(["value"], maintain_order=True)):
        yield Slice(column, str(value), found["row"].to_numpy())
