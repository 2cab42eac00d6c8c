"""A split read from its files into one frame, with the quarantined rows beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.data.content import format_of, open_content
from mlrun_assets.data.formats import parse_json_lines, parse_parquet, parse_table
from mlrun_assets.data.rows import (
    RAW_CHARACTERS,
    ParsedRow,
    QuarantinedRow,
    QuarantinedRowError,
    row_values,
)
from mlrun_assets.data.text import Step, normalise, shorten
from mlrun_assets.errors import DataError
from mlrun_assets.files import digest_file
from mlrun_assets.records import SourceFile


class DataFile(NamedTuple):
    """A data file: its name in messages, and its local path."""

    name: str
    path: Path


@dataclass
class SplitRows:
    """A split. ``rows_read`` is the number of rows in ``frame`` plus those in ``quarantined``.

    Attributes:
        source: the names of the files, for messages.
        files: the files with their digests and sizes.
    """

    split: str
    source: str
    rows_read: int = 0
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    files: tuple[SourceFile, ...] = ()


def read_split(split: str, files: Sequence[DataFile], data: DataConfig) -> SplitRows:
    """Read the files of one split in order.

    Returns:
        The rows with the columns ``id``, ``text``, ``label``, ``file`` (strings), ``line`` (from 1)
        and the configured extra columns (strings or null). The id of a row without one is its
        split, file number and line.

    Raises:
        DataError: a file can't be read, or changed while it was read.
    """
    rows = SplitRows(split, ", ".join(file.name for file in files))
    frames = []
    for number, file in enumerate(files, start=1):
        place = f"{split}-{number}" if len(files) > 1 else split
        with _unchanged(file):
            frame, quarantined = _read_file(file, data, place)
            size, digest = file.path.stat().st_size, digest_file(file.path)
        frames.append(frame)
        rows.quarantined += [
            QuarantinedRow(split, each.line, error.reason, error.detail, each.shown(), file.name)
            for each, error in quarantined
        ]
        read = frame.height + len(quarantined)
        rows.rows_read += read
        rows.files += (SourceFile(name=file.name, digest=digest, size_bytes=size, rows_read=read),)
    rows.frame = pl.concat(frames)
    return rows


_Quarantined = tuple[ParsedRow, QuarantinedRowError]


def _read_file(
    file: DataFile, data: DataConfig, place: str
) -> tuple[pl.DataFrame, list[_Quarantined]]:
    kept: list[dict[str, Any]] = []
    quarantined: list[_Quarantined] = []
    for parsed in parse_file(file, data):
        try:
            if isinstance(parsed.row, QuarantinedRowError):
                raise parsed.row
            kept.append(
                {**row_values(parsed.row, f"{place}-{parsed.line}", data), "line": parsed.line}
            )
        except QuarantinedRowError as error:
            quarantined.append((parsed._replace(raw=parsed.shown()), error))
    frame = pl.DataFrame(kept, schema=_columns(data), orient="row")
    return frame.with_columns(pl.lit(file.name, dtype=pl.String).alias("file")), quarantined


def _columns(data: DataConfig) -> dict[str, pl.DataType]:
    return {
        "id": pl.String(),
        "text": pl.String(),
        "label": pl.String(),
        "line": pl.Int64(),
        **{extra_column(name): pl.String() for name in data.extra_columns},
    }


def parse_file(file: DataFile, data: DataConfig, *, whole: bool = False) -> Iterator[ParsedRow]:
    """Parse a file of any format; ``whole`` rows keep all their columns.

    Raises:
        DataError: the file is damaged or not of its format, or lacks a column.
        OSError: the file can't be opened or read.
    """
    kind = format_of(file.name)
    if kind == "parquet":
        yield from parse_parquet(file.path, data, file.name, whole=whole)
        return
    with open_content(file.path, file.name) as content:
        if kind == "jsonl":
            yield from parse_json_lines(content, whole=whole)
        else:
            yield from parse_table(content, "," if kind == "csv" else "\t", data, file.name)


@contextmanager
def _unchanged(file: DataFile) -> Iterator[None]:
    """Fail if the file changes, so that its rows and its digest come from the same bytes."""
    try:
        before = _state(file.path)
        yield
        after = _state(file.path)
    except OSError as error:
        raise DataError(f"{file.name}: can't be read: {error.strerror or error}") from None
    if before != after:
        raise DataError(f"{file.name}: was written to while it was read; run again later")


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


# The columns of all formats: labels, schema, normal form

# At most 18 digits: Python refuses to convert thousands of them.
_NUMBER = re.compile(r"-?\d{1,18}")
_REASONS = {"text": "empty text", "label": "unknown label", "id": "id seen before"}


def label_set(train: pl.DataFrame, configured: tuple[str, ...] | None) -> tuple[str, ...]:
    """The configured labels, else the sorted labels of the train split.

    If all labels are integers, they are sorted by value.
    """
    if configured:
        return configured
    found = train["label"].unique().to_list()
    if all(_NUMBER.fullmatch(label) for label in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def enforce_schema(rows: SplitRows, labels: tuple[str, ...]) -> SplitRows:
    """Quarantine rows with an empty text, a label outside ``labels`` or a repeated id.

    The first row with an id is kept. The frame must be eager: of a lazy frame pandera validates
    the types only, not the values.
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
        return _quarantine(rows, error.failure_cases)
    return rows


def _quarantine(rows: SplitRows, failures: pl.DataFrame) -> SplitRows:
    reasons: dict[int, str] = {}
    first_of_id = set(
        rows.frame.with_row_index().group_by("id").agg(pl.col("index").min())["index"]
    )
    for column, index in failures.select("column", "index").iter_rows():
        if column != "id" or index not in first_of_id:
            reasons.setdefault(index, column)
    added = [
        _quarantined_row(rows.split, rows.frame.row(index, named=True), reasons[index])
        for index in sorted(reasons)
    ]
    keep = pl.Series([index not in reasons for index in range(rows.frame.height)], dtype=pl.Boolean)
    return replace(rows, frame=rows.frame.filter(keep), quarantined=[*rows.quarantined, *added])


def _quarantined_row(split: str, row: dict[str, object], column: str) -> QuarantinedRow:
    value = shorten(str(row[column]), 60)
    detail = {
        "text": "empty after white space is stripped",
        "label": f"`{value}` is not a known label",
        "id": f"an earlier row has the id `{value}`",
    }[column]
    return QuarantinedRow(
        split=split,
        line=int(str(row["line"])),
        reason=_REASONS[column],
        detail=detail,
        raw=shorten(str(row["text"]), RAW_CHARACTERS),
        file=str(row["file"]),
    )


# Printable ASCII with single spaces and without backticks is normal in any orthography.
# Only texts that match this are normalised, which saves time.
_PERHAPS_IRREGULAR = r"[^ -~]|`|  |^ | $"


def normalise_rows(rows: SplitRows, steps: frozenset[Step]) -> tuple[SplitRows, Counter[str]]:
    """Normalise the texts and count the changes by kind.

    The column ``raw`` keeps the original text for the checks.
    """
    texts = rows.frame["text"]
    positions = texts.str.contains(_PERHAPS_IRREGULAR).arg_true()
    results = [normalise(text, steps) for text in texts.gather(positions)]
    changes: Counter[str] = Counter()
    for result in results:
        for step, count in result.changes.items():
            changes[step.value] += count
    normal = pl.Series([result.text for result in results], dtype=pl.String)
    frame = rows.frame.with_columns(
        texts.alias("raw"), texts.clone().scatter(positions, normal).alias("text")
    )
    return replace(rows, frame=frame), changes
