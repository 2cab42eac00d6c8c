"""Rows that a check leaves out because of where they come from."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from mlrun_assets.config import CheckName, extra_column
from mlrun_assets.stages.quality.finding import Check, Dataset, Finding


def run_check(name: CheckName, check: Check, dataset: Dataset) -> Finding:
    """What ``check`` finds in the rows that ``data.quality.exempt`` does not leave out.

    Columns that the check gives are as long as the split again: exempt rows have null there, or
    false where the column says yes or no.
    """
    exempt = dataset.config.quality.exempt.get(name)
    if not exempt:
        return _finding(check, dataset)
    looked_at = {split: _looked_at(rows.frame, exempt) for split, rows in dataset.splits.items()}
    splits = {
        split: replace(rows, frame=rows.frame.filter(looked_at[split]))
        for split, rows in dataset.splits.items()
    }
    found = _finding(check, replace(dataset, splits=splits))
    left_out = sum(int((~kept).sum()) for kept in looked_at.values())
    message = f"{found.check.message} ({left_out} rows exempt)"
    columns = {
        split: tuple(_as_long_as_the_split(column, looked_at[split]) for column in given)
        for split, given in found.columns.items()
    }
    return replace(
        found, check=found.check.model_copy(update={"message": message}), columns=columns
    )


def _finding(check: Check, dataset: Dataset) -> Finding:
    found = check(dataset)
    return found if isinstance(found, Finding) else Finding(found)


def _looked_at(frame: pl.DataFrame, exempt: dict[str, tuple[str | int, ...]]) -> pl.Series:
    left_out = [
        pl.col(extra_column(column)).is_in([str(value) for value in values]).fill_null(value=False)
        for column, values in exempt.items()
    ]
    return frame.select((~pl.any_horizontal(left_out)).alias("looked_at")).to_series()


def _as_long_as_the_split(column: pl.Series, looked_at: pl.Series) -> pl.Series:
    nothing = False if column.dtype == pl.Boolean else None
    whole = pl.Series(column.name, [nothing], dtype=column.dtype)
    return whole.new_from_index(0, len(looked_at)).scatter(looked_at.arg_true(), column)
