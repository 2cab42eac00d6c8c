"""JSON Lines to rows: one object a line, nothing coerced and no key twice."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, overload

import orjson

from mlrun_assets.config import DataConfig
from mlrun_assets.data.rows import ParsedRow, QuarantinedRowError, check_columns, printable
from mlrun_assets.data.text import shorten
from mlrun_assets.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
# orjson writes fewer levels than it reads (254 and 1,024).
_LEVELS_LOOKED_AT = 200


@overload
def parse_json_lines(lines: Iterable[bytes], *, whole: bool = False) -> Iterator[ParsedRow]: ...
@overload
def parse_json_lines(
    lines: Iterable[bytes | None], *, whole: bool = False
) -> Iterator[ParsedRow | None]: ...
def parse_json_lines(
    lines: Iterable[bytes | None], *, whole: bool = False
) -> Iterator[ParsedRow | None]:
    """The rows of ``lines``; blank ones are none. ``whole`` rows can be written as they were read.

    A carriage return alone ends a line, as on old Macs, where the line can't be read otherwise.
    None is no line and is handed on: nothing more has come yet.
    """
    parse = _parse_whole if whole else _parse_object
    line = 0
    for content in lines:
        if content is None:
            yield None
            continue
        line += 1
        stripped = content.removeprefix(_BYTE_ORDER_MARK).strip()
        if not stripped:
            continue
        row = parse(stripped)
        if not isinstance(row, QuarantinedRowError) or b"\r" not in stripped:
            yield ParsedRow(line, stripped, row)
            continue
        for place, part in enumerate(stripped.split(b"\r")):
            line += place > 0
            if part.strip():
                yield ParsedRow(line, part.strip(), parse(part.strip()))


def _parse_object(content: bytes) -> dict[str, Any] | QuarantinedRowError:
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return QuarantinedRowError("not JSON", error.msg)
    if not isinstance(row, dict):
        return QuarantinedRowError(
            "not an object", f"a JSON {type(row).__name__}, not an object with keys"
        )
    # orjson keeps the last of two equal keys without a word; the slow parser is asked only where
    # there are more colons after quotes than keys.
    if len(_KEY_END.findall(content)) > len(row):
        return _without_repeated_keys(content, row)
    return row


def _parse_whole(content: bytes) -> dict[str, Any] | QuarantinedRowError:
    row = _parse_object(content)
    if content.count(b"[") + content.count(b"{") > _LEVELS_LOOKED_AT:
        try:
            orjson.dumps(row, default=str)
        except TypeError:
            return _nested_too_deeply()
    if isinstance(row, dict) and _LONG_INTEGER.search(content) and _loses_digits(content):
        said = "an integer of more than 64 bits, which would lose digits; put it in quotes"
        return QuarantinedRowError("number too large", said)
    return row


def _loses_digits(content: bytes) -> bool:
    """Whether there is an integer that orjson makes a float of."""
    lost: list[str] = []

    def note(digits: str) -> None:
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
            lost.append(digits)

    json.loads(content, parse_int=note)
    return bool(lost)


def _nested_too_deeply() -> QuarantinedRowError:
    return QuarantinedRowError("nested too deeply", "objects or lists within hundreds of others")


def _without_repeated_keys(
    content: bytes, row: dict[str, Any]
) -> dict[str, Any] | QuarantinedRowError:
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            repeated.extend(key for key in keys if keys.count(key) > 1)

    try:
        # Numbers stay text: Python refuses to read one of thousands of digits.
        json.loads(content, object_pairs_hook=note, parse_int=str)
    except RecursionError:
        return _nested_too_deeply()
    if repeated:
        return QuarantinedRowError("duplicate key", f"the key `{repeated[0][:60]}` stands twice")
    return row


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


def parse_table(file: BinaryIO, delimiter: str, data: DataConfig, name: str) -> Iterator[ParsedRow]:
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
            row = QuarantinedRowError("not a table row", str(error))
        if isinstance(row, QuarantinedRowError):
            yield from _one_each(first, lines.record, row)
        elif row:
            yield ParsedRow(first, "".join(lines.record), row)


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


def _row(header: list[str], values: list[str]) -> dict[str, Any] | QuarantinedRowError:
    """A row; an empty one for a blank line."""
    if not values or (len(values) == 1 < len(header) and not values[0].strip()):
        return {}
    if len(values) != len(header):
        return QuarantinedRowError(
            "wrong number of columns", f"{len(values)} values under {len(header)} headings"
        )
    if any(_broken(value) for value in values):
        return QuarantinedRowError("not UTF-8", "bytes that are not UTF-8; save the file as UTF-8")
    return dict(zip(header, values, strict=True))


def _one_each(first: int, record: list[str], error: QuarantinedRowError) -> Iterator[ParsedRow]:
    """One bad row for each line of a bad record that is not blank, at least one."""
    reason, detail = error.reason, error.detail
    if len(record) > 1:
        detail = f"{detail} (a quote joins lines {first} to {first + len(record) - 1})"
    filled = [(line, raw) for line, raw in enumerate(record, first) if raw.strip()]
    for line, raw in filled or [(first, "")]:
        yield ParsedRow(line, printable(raw), QuarantinedRowError(reason, detail))


def _broken(text: str) -> bool:
    if text.isascii():
        return False
    return any("\ud800" <= character <= "\udfff" for character in text)


# As many rows at once as take some million bytes.
BATCH_ROWS = 1000
BATCH_BYTES = 1 << 23
_BUFFER_BYTES = 1 << 20


def parse_parquet(
    path: Path, data: DataConfig, name: str, *, whole: bool = False
) -> Iterator[ParsedRow]:
    """The rows of a file; their line is the number of the row, and a batch of them is in memory.

    Read with Arrow, since polars panics over some damaged files. ``whole`` rows have all columns,
    not only those that the config names.

    Raises:
        DataError: it is no Parquet file, is damaged, or lacks a column.
    """
    import pyarrow as pa

    line = 0
    try:
        with _opened(path) as file:
            columns = check_columns(file.schema_arrow.names, data, name)
            rows = _rows_at_once(file.metadata)
            for batch in file.iter_batches(rows, columns=None if whole else columns):
                size = batch.nbytes // max(1, batch.num_rows)
                for row in batch.to_pylist():
                    line += 1
                    yield ParsedRow(line, None, row, size)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # Arrow also raises plain OSError and ValueError, for bytes that make no sense.
        why = shorten(str(error), 160).rstrip(".")
        raise DataError(
            f"{name}: not a Parquet file that can be read (after row {line}): {why}; write it again"
        ) from None


def _opened(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    # Else each column of a row group is read whole, and files of one large group are common.
    return ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _rows_at_once(metadata: Any) -> int:
    """Rows of a batch, by the mean size of a row in the group where that is largest."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1, largest))))
