"""All files of a split to one frame, and the rows that are put aside."""

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
from mlrun_assets.data.rows import ParsedRow, QuarantinedRow, QuarantinedRowError, row_values
from mlrun_assets.data.text import Step, normalise, shorten
from mlrun_assets.errors import DataError
from mlrun_assets.files import digest_file
from mlrun_assets.records import SourceFile


class DataFile(NamedTuple):
    """A data file: how messages call it, and where its bytes are."""

    name: str
    path: Path


@dataclass
class SplitRows:
    """One split as it was read: ``frame`` has a row for each of ``rows_read`` less ``bad``.

    ``source`` names the files as messages do, and ``files`` has each of them with its digest.
    """

    split: str
    source: str
    rows_read: int = 0
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    files: tuple[SourceFile, ...] = ()


def read_split(split: str, files: Sequence[DataFile], data: DataConfig) -> SplitRows:
    """Read the files of one split, in their order.

    Returns:
        The rows with the columns ``id``, ``text``, ``label``, ``file`` (strings), ``line`` (counted
        from 1) and the configured group and slice columns (strings, null where missing). Without
        an id of its own a row has its place for one.

    Raises:
        DataError: a file as a whole can't be read, or was written to meanwhile.
    """
    rows = SplitRows(split, ", ".join(file.name for file in files))
    frames = []
    for number, file in enumerate(files, start=1):
        place = f"{split}-{number}" if len(files) > 1 else split
        with _at_rest(file):
            frame, bad = _read_file(file, data, place)
            size, digest = file.path.stat().st_size, digest_file(file.path)
        frames.append(frame)
        rows.quarantined += [
            QuarantinedRow(split, each.line, error.reason, error.detail, each.shown(), file.name)
            for each, error in bad
        ]
        read = frame.height + len(bad)
        rows.rows_read += read
        rows.files += (SourceFile(name=file.name, digest=digest, size_bytes=size, rows_read=read),)
    rows.frame = pl.concat(frames)
    return rows


_Aside = list[tuple[ParsedRow, QuarantinedRowError]]


def _read_file(file: DataFile, data: DataConfig, place: str) -> tuple[pl.DataFrame, _Aside]:
    kept: list[dict[str, Any]] = []
    aside: _Aside = []
    for parsed in parse_file(file, data):
        try:
            if isinstance(parsed.row, QuarantinedRowError):
                raise parsed.row
            kept.append(
                {**row_values(parsed.row, f"{place}-{parsed.line}", data), "line": parsed.line}
            )
        except QuarantinedRowError as error:
            aside.append((parsed._replace(raw=parsed.shown()), error))
    frame = pl.DataFrame(kept, schema=_columns(data), orient="row")
    return frame.with_columns(pl.lit(file.name, dtype=pl.String).alias("file")), aside


def _columns(data: DataConfig) -> dict[str, pl.DataType]:
    return {
        "id": pl.String(),
        "text": pl.String(),
        "label": pl.String(),
        "line": pl.Int64(),
        **{extra_column(name): pl.String() for name in data.extra_columns},
    }


def parse_file(file: DataFile, data: DataConfig, *, whole: bool = False) -> Iterator[ParsedRow]:
    """The rows of a file of any format; ``whole`` ones have all their keys, unchanged.

    Raises:
        DataError: the file as a whole is none that can be read, or lacks a column.
        OSError: it can't be opened or read.
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
def _at_rest(file: DataFile) -> Iterator[None]:
    """Make sure that what is read and what the digest is of are the same bytes."""
    try:
        before = _state(file.path)
        yield
        after = _state(file.path)
    except OSError as error:
        raise DataError(f"{file.name}: can't be read: {error.strerror or error}") from None
    if before != after:
        raise DataError(f"{file.name}: was written to while it was read; run again when it rests")


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


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
    bad = [
        _quarantined_row(rows.split, rows.frame.row(index, named=True), reasons[index])
        for index in sorted(reasons)
    ]
    keep = pl.Series([index not in reasons for index in range(rows.frame.height)], dtype=pl.Boolean)
    return replace(rows, frame=rows.frame.filter(keep), quarantined=[*rows.quarantined, *bad])


def _quarantined_row(split: str, row: dict[str, object], column: str) -> QuarantinedRow:
    value = shorten(str(row[column]), 60)
    detail = {
        "text": "nothing left after white space is stripped",
        "label": f"`{value}` is not in the label set",
        "id": f"`{value}` stands on an earlier row",
    }[column]
    return QuarantinedRow(
        split=split,
        line=int(str(row["line"])),
        reason=_REASONS[column],
        detail=detail,
        raw=shorten(str(row["text"]), 500),
        file=str(row["file"]),
    )


# Printable ASCII, no backtick, single spaces: regular in any orthography. The rest is looked at.
_PERHAPS_IRREGULAR = r"[^ -~]|`|  |^ | $"


def normalise_rows(rows: SplitRows, steps: frozenset[Step]) -> tuple[SplitRows, Counter[str]]:
    """``rows`` with normalised texts, and the changes counted by kind.

    The text as it came stays in the column ``raw``, for the checks that look at it.
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
