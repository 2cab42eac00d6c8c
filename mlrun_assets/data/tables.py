"""CSV and TSV parsed into rows, with the delimiter and the quotes that the whole file supports.

A text may start with a quotation mark in a file that quotes nothing. Read as quoted, such a text
goes on to the next quotation mark, and takes the rows between into it. So each reading is tried on
the whole file, and the one under which most lines have the columns of the header is used.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, BinaryIO, NamedTuple

from mlrun_assets.config import DataConfig
from mlrun_assets.data.content import Opener
from mlrun_assets.data.rows import (
    NOT_UTF8,
    ParsedRow,
    QuarantinedRowError,
    check_columns,
    printable,
    row_too_long,
)
from mlrun_assets.data.text import shorten
from mlrun_assets.errors import DataError

# The first delimiter is tried first.
_DELIMITERS = {"csv": ",;\t|", "tsv": "\t,;|"}
_QUOTINGS: dict[str, dict[str, Any]] = {
    "quoted": {},
    "escaped": {"doublequote": False, "escapechar": "\\"},
    "unquoted": {"quoting": csv.QUOTE_NONE},
}
_CHUNK = 1 << 20


def parse_table(opened: Opener, kind: str, data: DataConfig, name: str) -> Iterator[ParsedRow]:
    """Parse the rows below the header of a CSV or TSV file; skip blank lines.

    A quoted value may contain line breaks. The line of such a row is its first line. If the quotes
    are wrong, or join lines that look like rows, each of the lines is quarantined.

    Raises:
        DataError: the header can't be read, or lacks a column that the config names.
    """
    table = _with_header(opened, kind, data, name)
    if table is None:
        return
    rows: _WholeRows | None = None
    quoting: str = data.quoting
    if quoting == "auto":
        quoting, rows = _quoting(table, data)
    records = table.records(quoting)
    next(records)
    for record in records:
        row = _row(table.header, record.values)
        if joined := rows.joined(record) if rows else 0:
            detail = f"quotes join {joined} rows; close them, or set data.quoting"
            row = QuarantinedRowError("joined rows", detail)
        if isinstance(row, QuarantinedRowError) and (joined or row is record.values):
            yield from _quarantine_lines(record, row)
        else:
            yield ParsedRow(record.first, record.raw, row, lines=len(record.lines))


class _Record(NamedTuple):
    """The values of a record and its lines; ``first`` is the number of the first one."""

    first: int
    lines: list[str]
    values: list[str] | QuarantinedRowError

    @property
    def raw(self) -> str:
        return "".join(self.lines)

    def has(self, columns: int) -> bool:
        return not isinstance(self.values, QuarantinedRowError) and len(self.values) == columns


class _Table(NamedTuple):
    """A file: a function that opens it, and how it is read."""

    opened: Opener
    delimiter: str
    row_limit: int
    header: list[str]

    def records(self, quoting: str) -> Iterator[_Record]:
        """The header and the records below it that are not blank."""
        style = {"delimiter": self.delimiter, "strict": True, **_QUOTINGS[quoting]}
        header_seen = False
        with self.opened() as file:
            lines = _Lines(file, self.row_limit)
            reader = csv.reader(lines, **style)
            while True:
                lines.begin_record()
                values: list[str] | QuarantinedRowError
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    values = QuarantinedRowError("not a table row", str(error))
                except QuarantinedRowError as error:
                    values = error
                record = _Record(lines.first, lines.record, values)
                if isinstance(values, list):
                    if not header_seen and not any(map(str.strip, values)):
                        continue
                    if not record.raw.strip() and self.delimiter not in record.raw:
                        continue
                header_seen = True
                yield record

    def split(self, line: str) -> list[str]:
        """The values of a line if quotes mean nothing."""
        return line.rstrip("\r\n").split(self.delimiter)


class _Lines:
    """The lines of a file for `csv.reader`, and those of the current record.

    A record above the limit is an error. The rest of its last line is skipped.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        csv.field_size_limit(limit)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._read, self._limit, self._number = text.readline, limit, 0
        self.begin_record()

    def begin_record(self) -> None:
        self.record: list[str] = []
        self.first, self._left = self._number + 1, self._limit

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read(self._left + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self.record.append(line)
        self._left -= len(line)
        if self._left >= 0:
            return line
        while line and line[-1] not in "\r\n":
            line = self._read(_CHUNK)
        raise row_too_long(self._limit)


def _with_header(opened: Opener, kind: str, data: DataConfig, name: str) -> _Table | None:
    """The table with the first delimiter that gives its header the configured columns.

    Without one, or without configured columns, the delimiter that gives the most headings.
    """
    tables, problems = [], []
    for delimiter in _DELIMITERS[kind]:
        table = _Table(opened, delimiter, int(data.max_row_mb * 1e6), [])
        first = next(table.records("quoted"), None)
        if first is None:
            return None
        if isinstance(first.values, QuarantinedRowError):
            problems.append(first.values.detail)
            continue
        tables.append(table._replace(header=first.values))
        if data.text_columns and {*data.text_columns, data.label_column} <= {*first.values, ""}:
            tables = tables[-1:]
            break
    if not tables:
        raise DataError(f"{name}: line 1: the headings can't be read: {problems[0]}")
    table = max(tables, key=lambda each: len(each.header))
    header = table.header
    if _not_utf8("".join(header)):
        raise DataError(f"{name}: line 1: the headings have {NOT_UTF8[1]}")
    repeated = [heading for heading in header if heading and header.count(heading) > 1]
    if repeated:
        shown = shorten(repeated[0], 60)
        raise DataError(f"{name}: line 1: the heading `{shown}` is repeated; rename one")
    check_columns(header, data, name)
    return table


def _row(
    header: list[str], values: list[str] | QuarantinedRowError
) -> dict[str, Any] | QuarantinedRowError:
    if isinstance(values, QuarantinedRowError):
        return values
    if len(values) != len(header):
        detail = f"{len(values)} values under {len(header)} headings"
        return QuarantinedRowError("wrong number of columns", detail)
    if any(map(_not_utf8, values)):
        return QuarantinedRowError(*NOT_UTF8)
    if [value.lstrip("\ufeff") for value in values] == header:
        return QuarantinedRowError("repeated header", "the headings once more; delete the line")
    return dict(zip(header, values, strict=True))


def _quarantine_lines(record: _Record, error: QuarantinedRowError) -> Iterator[ParsedRow]:
    """One error for every line of the record that is not blank; at least one."""
    detail, first = error.detail, record.first
    if len(record.lines) > 1:
        detail += f" (a quote joins lines {first} to {first + len(record.lines) - 1})"
    filled = [(line, raw) for line, raw in enumerate(record.lines, first) if raw.strip()]
    for line, raw in filled or [(first, "")]:
        yield ParsedRow(line, printable(raw), QuarantinedRowError(error.reason, detail))


def _not_utf8(text: str) -> bool:
    """True if bytes of ``text`` were not UTF-8: ``surrogateescape`` makes surrogates of them."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


# The meaning of quotes


def _quoting(table: _Table, data: DataConfig) -> tuple[str, _WholeRows | None]:
    """The quoting under which most lines have the columns of the header, and what rows look like.

    If several fit, a comma-separated file is quoted, and a tab-separated one is not, unless it
    shows that it is.
    """
    with table.opened() as file:
        if not any(b'"' in chunk for chunk in iter(partial(file.read, _CHUNK), b"")):
            return "unquoted", None
    evidence = _Evidence(table, data)
    order = ["quoted", *(["escaped"] if evidence.escapes else []), "unquoted"]
    if evidence.quoted_header:
        order.pop()
    elif table.delimiter == "\t" and not evidence.quoted_texts:
        order.insert(0, order.pop())
    bad: dict[str, int] = {}
    for quoting in order:
        records = table.records(quoting)
        bad[quoting] = sum(
            len(record.lines)
            for record in records
            if not record.has(len(table.header)) or evidence.rows.joined(record)
        )
        if not bad[quoting]:
            break
    return min(bad, key=bad.__getitem__), evidence.rows


class _Evidence:
    """What a file shows about its quotes when it is read as quoted.

    Whoever writes a quoted file quotes all texts with a quotation mark in them, or all with a line
    break or comma, or all. In a file without quoting, such texts are mostly not in quotes.
    """

    def __init__(self, table: _Table, data: DataConfig) -> None:
        records = table.records("quoted")
        self.quoted_header = '"' in next(records).raw
        self.escapes = False
        self.rows = _WholeRows(table, data)
        self._surplus: Counter[str] = Counter()  # of texts in quotes over others
        texts = [table.header.index(name) for name in data.text_columns]
        for record in records:
            raw = record.raw
            self.escapes |= '\\"' in raw
            if isinstance(record.values, QuarantinedRowError) or not record.has(len(table.header)):
                continue
            if len(record.lines) == 1:
                self.rows.add(record.values)
            for text in (record.values[place] for place in texts):
                doubled = text.replace('"', '""')
                for special in ('"', "\n", ",", ""):
                    if special in text:
                        self._surplus[special] += 1 if f'"{doubled}"' in raw else -1

    @property
    def quoted_texts(self) -> bool:
        """Of the first kind that occurs, most are in quotes; a few commas show nothing."""
        kinds = [self._surplus[special] for special in ('"', "\n", ",", "")]
        kinds[2] *= abs(kinds[2]) * _FEW_COMMAS >= self.rows.count
        return next((surplus > 0 for surplus in kinds if surplus), False)


_FEW_COMMAS = 20  # in one of so many texts
# Of a column with more values, no further ones are kept.
_MOST_VALUES = 1000


class _WholeRows:
    """What a row looks like: the values, by column, of the rows that are on one line.

    Commas are frequent in texts, so lines of a quoted text may have as many columns as the header.
    Their values in the columns besides the text then do not look like those of rows.
    """

    def __init__(self, table: _Table, data: DataConfig) -> None:
        self._table, self.count = table, 0
        self._values: dict[int, set[str]] = {
            place: set() for place, name in enumerate(table.header) if name not in data.text_columns
        }

    def add(self, values: list[str]) -> None:
        self.count += 1
        for place, seen in self._values.items():
            if len(seen) <= _MOST_VALUES:
                seen.add(values[place])

    def joined(self, record: _Record) -> int:
        """The number of lines if the first, the last and half of all look like rows; else 0."""
        columns = len(self._table.header)
        if len(record.lines) == 1 or columns == 1:
            return 0
        lines = [self._table.split(line) for line in record.lines if line.strip()]
        whole = [len(values) == columns and self._fit(values) for values in lines]
        return len(whole) if whole[0] and whole[-1] and 2 * sum(whole) >= len(whole) > 1 else 0

    def _fit(self, values: list[str]) -> bool:
        if self._table.delimiter == "\t":  # rare in texts
            return True
        return bool(self._fits) and all(fits(values[place]) for place, fits in self._fits.items())

    @cached_property
    def _fits(self) -> dict[int, Callable[[str], bool]]:
        """The columns of few values, which must be known, and those without white space."""
        fits: dict[int, Callable[[str], bool]] = {}
        for place, seen in self._values.items():
            if 2 * len(seen) <= self.count and len(seen) <= _MOST_VALUES:
                fits[place] = seen.__contains__
            elif all(map(_is_word, seen)):
                fits[place] = _is_word
        return fits


def _is_word(value: str) -> bool:
    return value.split() == [value]
