"""CSV and TSV to rows.

A quote that is never closed swallows what follows. So a bad record that runs over several lines is
put aside line by line: the count of rows that are lost is never smaller than it looks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import DataError
from mlrun_assets.stages.quality.reading.rows import (
    Parsed,
    UnusableError,
    check_columns,
    printable,
)
from mlrun_assets.text import shorten

# Python's own limit, 131,072 characters, is shorter than a long document.
FIELD_CHARACTERS = 1 << 28


class _Lines:
    """The lines of a file, and those that the record at hand is made of."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.record.append(line)
        return line


def parse_table(file: BinaryIO, delimiter: str, data: DataConfig, name: str) -> Iterator[Parsed]:
    """The rows of ``file`` below its line of headings; blank lines are none.

    Raises:
        DataError: the headings are not those of the config.
    """
    csv.field_size_limit(FIELD_CHARACTERS)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(reader, name)
    if header is None:
        return
    check_columns(header, data, name)
    while True:
        first = reader.line_num + 1
        lines.record.clear()
        try:
            row = _row(header, next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            row = UnusableError("not a table row", str(error))
        if isinstance(row, UnusableError):
            yield from _one_each(first, lines.record, row)
        elif row:
            yield Parsed(first, "".join(lines.record), row)


def _header(reader: Iterator[list[str]], name: str) -> list[str] | None:
    """The first line that is not blank; None: there is none."""
    try:
        header = next((values for values in reader if any(map(str.strip, values))), None)
    except csv.Error as error:
        raise DataError(f"{name}: line 1: the headings can't be read: {error}") from None
    if header is None:
        return None
    if _broken("".join(header)):
        raise DataError(f"{name}: line 1: the headings are not UTF-8; save the file as UTF-8")
    repeated = [heading for heading in header if heading and header.count(heading) > 1]
    if repeated:
        shown = shorten(repeated[0], 60)
        raise DataError(f"{name}: line 1: the heading `{shown}` stands twice; rename one")
    return header


def _row(header: list[str], values: list[str]) -> dict[str, Any] | UnusableError:
    """A row; an empty one for a blank line."""
    if not values or (len(values) == 1 < len(header) and not values[0].strip()):
        return {}
    if len(values) != len(header):
        return UnusableError(
            "wrong number of columns", f"{len(values)} values under {len(header)} headings"
        )
    if any(_broken(value) for value in values):
        return UnusableError("not UTF-8", "bytes that are not UTF-8; save the file as UTF-8")
    return dict(zip(header, values, strict=True))


def _one_each(first: int, record: list[str], error: UnusableError) -> Iterator[Parsed]:
    """One bad row for each line of a bad record that is not blank, at least one."""
    reason, detail = error.reason, error.detail
    if len(record) > 1:
        detail = f"{detail} (a quote joins lines {first} to {first + len(record) - 1})"
    filled = [(line, raw) for line, raw in enumerate(record, first) if raw.strip()]
    for line, raw in filled or [(first, "")]:
        yield Parsed(line, printable(raw), UnusableError(reason, detail))


def _broken(text: str) -> bool:
    if text.isascii():
        return False
    return any("\ud800" <= character <= "\udfff" for character in text)
