"""All files of a split to one frame, and the rows that are put aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.errors import DataError
from mlrun_assets.files import digest_file
from mlrun_assets.records import SourceFile
from mlrun_assets.stages.quality.reading.content import format_of, open_content
from mlrun_assets.stages.quality.reading.json_lines import parse_json_lines
from mlrun_assets.stages.quality.reading.parquet import parse_parquet
from mlrun_assets.stages.quality.reading.rows import (
    BadRow,
    Parsed,
    UnusableError,
    usable,
)
from mlrun_assets.stages.quality.reading.tables import parse_table


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
    bad: list[BadRow] = field(default_factory=list)
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
        rows.bad += [
            BadRow(split, each.line, error.reason, error.detail, each.shown(), file.name)
            for each, error in bad
        ]
        read = frame.height + len(bad)
        rows.rows_read += read
        rows.files += (SourceFile(name=file.name, digest=digest, size_bytes=size, rows_read=read),)
    rows.frame = pl.concat(frames)
    return rows


_Aside = list[tuple[Parsed, UnusableError]]


def _read_file(file: DataFile, data: DataConfig, place: str) -> tuple[pl.DataFrame, _Aside]:
    kept: list[dict[str, Any]] = []
    aside: _Aside = []
    for parsed in parse_file(file, data):
        try:
            if isinstance(parsed.row, UnusableError):
                raise parsed.row
            kept.append({**usable(parsed.row, f"{place}-{parsed.line}", data), "line": parsed.line})
        except UnusableError as error:
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


def parse_file(file: DataFile, data: DataConfig, *, whole: bool = False) -> Iterator[Parsed]:
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
