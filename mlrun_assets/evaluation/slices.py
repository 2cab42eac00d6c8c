"""Labels and slices of the test split, and two models compared on each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.records import MIN_ROWS_JUDGED, Score, SliceComparison, SliceScores
from mlrun_assets.statistics import paired_proportion_difference, wilson_interval
from mlrun_assets.types import BoolArray, RowNumbers


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

    ``frame`` is a validated split. Rows of equal length keep their order. A row without a value in
    a column is in none of its slices; if all rows are truncated, or none is, there is no
    ``truncated`` slice. The same holds for code-switching.
    """
    order = np.argsort(frame["tokens"].to_numpy(), kind="stable")
    terciles = zip(("short", "medium", "long"), np.array_split(order, 3), strict=True)
    found = [Slice("length", value, np.sort(rows)) for value, rows in terciles]
    in_two = {"truncated": frame["tokens"] > max_length, "code-switched": frame["code_switched"]}
    columns = {
        name: pl.Series(["no", "yes"], dtype=pl.String).gather(values.cast(pl.UInt32))
        for name, values in in_two.items()
        if values.any() and not values.all()
    }
    columns |= {column: frame[extra_column(column)] for column in data.slice_columns}
    for column, values in columns.items():
        rows = pl.DataFrame({"value": values, "row": np.arange(len(values))}).drop_nulls("value")
        for (value,), part in sorted(rows.group_by(["value"], maintain_order=True)):
            found.append(Slice(column, str(value), part["row"].to_numpy()))
    return tuple(found)


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
    ours, other = (each[rows] for each in right)
    outcomes = (ours & other, other & ~ours, ours & ~other, ~ours & ~other)
    both, only_other, only_ours, neither = (int(each.sum()) for each in outcomes)
    return SliceComparison(
        name=name,
        rows=len(rows),
        recall=float(ours.mean()),
        other_recall=float(other.mean()),
        loss=paired_proportion_difference((both, only_other, only_ours, neither), confidence),
    )
