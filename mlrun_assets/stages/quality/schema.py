"""Rows to rows that hold what they must: pandera on an eager polars frame."""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl

from mlrun_assets.stages.quality.reading import BadRow, SplitRows
from mlrun_assets.text import shorten

# Python makes no number of a text of thousands of digits.
_NUMBER = re.compile(r"-?\d{1,18}")
_REASONS = {"text": "empty text", "label": "unknown label", "id": "id seen before"}


def label_set(train: pl.DataFrame, configured: tuple[str, ...] | None) -> tuple[str, ...]:
    """The labels in their order: as configured, else those of the training split.

    Integers are put in the order of numbers, names in that of the alphabet.
    """
    if configured:
        return configured
    found = train["label"].unique().to_list()
    if all(_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def enforce_schema(rows: SplitRows, labels: tuple[str, ...]) -> SplitRows:
    """The rows that have a text, a label of ``labels`` and an id of their own.

    The frame is validated eagerly: pandera checks only the types of a lazy one and lets wrong
    values pass. Of rows that share an id the first one stays.
    """
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(pl.String, unique=True),
            "text": pa.Column(pl.String, pa.Check.str_matches(r"\S")),
            "label": pa.Column(pl.String, pa.Check.isin(list(labels))),
        }
    )
    try:
        schema.validate(rows.frame, lazy=True)
    except SchemaErrors as error:
        return _put_aside(rows, error.failure_cases)
    return rows


def _put_aside(rows: SplitRows, failures: pl.DataFrame) -> SplitRows:
    reasons: dict[int, str] = {}
    first_of_id = set(
        rows.frame.with_row_index().group_by("id").agg(pl.col("index").min())["index"]
    )
    for column, index in failures.select("column", "index").iter_rows():
        if column != "id" or index not in first_of_id:
            reasons.setdefault(index, column)
    bad = [
        _bad_row(rows.split, rows.frame.row(index, named=True), reasons[index])
        for index in sorted(reasons)
    ]
    keep = pl.Series([index not in reasons for index in range(rows.frame.height)], dtype=pl.Boolean)
    return replace(rows, frame=rows.frame.filter(keep), bad=[*rows.bad, *bad])


def _bad_row(split: str, row: dict[str, object], column: str) -> BadRow:
    value = shorten(str(row[column]), 60)
    detail = {
        "text": "nothing left after white space is stripped",
        "label": f"`{value}` is not in the label set",
        "id": f"`{value}` stands on an earlier row",
    }[column]
    return BadRow(
        split=split,
        line=int(str(row["line"])),
        reason=_REASONS[column],
        detail=detail,
        raw=shorten(str(row["text"]), 500),
        file=str(row["file"]),
    )
