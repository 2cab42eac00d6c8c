"""Parsers from the content of a file to its rows: JSON Lines, a JSON array, Parquet, Arrow.

Values are never coerced. A row that can't be parsed is an error in its place, with its line, and
the rows around it are still read.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mlrun_assets.config import DataConfig
from mlrun_assets.data.rows import (
    NOT_UTF8,
    RAW_BYTES,
    ParsedRow,
    QuarantinedRowError,
    check_columns,
    row_too_long,
)
from mlrun_assets.data.text import normal_labels, shorten
from mlrun_assets.errors import DataError, listed

# Reading JSON Lines

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ARRAY_START = 1 << 10  # bytes in which the bracket of an array must be
_JSON_TOKEN = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
# orjson writes 254 levels but reads 1,024: rows with more brackets than this are tried.
_SAFE_LEVELS = 200
_TOO_DEEP = ("nested too deeply", "hundreds of levels of objects or lists")


def bounded_lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """The lines of a file; of a longer line only the first ``limit`` + 1 bytes."""
    read = partial(file.readline, limit + 1)
    for line in iter(read, b""):
        yield line
        rest = line
        while len(rest) > limit and not rest.endswith(b"\n"):
            rest = read()


def json_rows(file: io.BufferedReader, name: str, limit: int) -> Iterator[bytes]:
    """The rows of JSON Lines, or the elements of a JSON array; of a longer one the start.

    Raises:
        DataError: an array has no end.
    """
    start = file.peek(_ARRAY_START)[:_ARRAY_START].removeprefix(BYTE_ORDER_MARK).lstrip()
    lines = not start.startswith(b"[")
    return bounded_lines(file, limit) if lines else _array_elements(file, name, limit)


def _array_elements(file: BinaryIO, name: str, limit: int) -> Iterator[bytes]:
    """The elements of a JSON array; what is behind it comes as a further element."""
    element, depth, in_string, elements = bytearray(), 0, False, 0
    while chunk := file.read(_BUFFER_BYTES):
        if chunk.endswith(b"\\"):  # keep it with the character that it escapes
            chunk += file.read(1)
        start = 0
        for token in _JSON_TOKEN.finditer(chunk):
            mark = token[0]
            if mark == b'"':
                in_string = not in_string
            elif in_string or len(mark) > 1:
                continue
            elif mark in b"[{":
                depth += 1
                start = token.end() if depth == 1 else start
            else:
                depth -= mark != b","
                if depth == 0 or (depth == 1 and mark == b","):
                    element += chunk[start : token.start()][: limit + 1 - len(element)]
                    # A carriage return is no line end here.
                    yield bytes(element).replace(b"\r", b" ")
                    element.clear()
                    start, elements = token.end(), elements + 1
        element += chunk[start:][: limit + 1 - len(element)]
    if depth > 0:
        why = f"the JSON array has no end after row {elements}; write the file again"
        raise DataError(f"{name}: {why}")
    yield bytes(element)


def parse_json_lines(
    lines: Iterable[bytes | None], limit: int, *, whole: bool = False
) -> Iterator[ParsedRow | None]:
    """Parse one JSON object per line; skip blank lines.

    A line that is not JSON is split at its carriage returns, the line ends of old Macs.

    Args:
        lines: the lines; None (a pipe is waiting) is passed on.
        limit: a row with more bytes is quarantined.
        whole: quarantine also the rows that can't be written again as they were read.
    """
    parse = _parse_whole if whole else _parse_object
    line = 0
    for content in lines:
        if content is None:
            yield None
            continue
        line += 1
        if len(content) > limit:
            yield ParsedRow(line, content[:RAW_BYTES], row_too_long(limit))
            continue
        stripped = content.removeprefix(BYTE_ORDER_MARK).strip()
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
        return QuarantinedRowError(*(NOT_UTF8 if "UTF-8" in error.msg else ("not JSON", error.msg)))
    if not isinstance(row, dict):
        detail = f"a JSON {type(row).__name__}, not an object with keys"
        return QuarantinedRowError("not an object", detail)
    # orjson silently keeps the last of two equal keys. The slow parser finds them; it runs only on
    # rows with more quotes before a colon than keys.
    if len(_KEY_END.findall(content)) <= len(row):
        return row
    # Before Python 3.12 the slow parser fails on hundreds of levels, later it does not.
    if _is_too_deep(content, row):
        return QuarantinedRowError(*_TOO_DEEP)
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            repeated.extend(key for key in keys if keys.count(key) > 1)

    # Numbers stay text: Python refuses to parse thousands of digits.
    json.loads(content, object_pairs_hook=note, parse_int=str)
    if repeated:
        return QuarantinedRowError("duplicate key", f"the key `{repeated[0][:60]}` is repeated")
    return row


def _is_too_deep(content: bytes, row: dict[str, Any]) -> bool:
    """Whether a row has more levels than orjson writes, 254."""
    if content.count(b"[") + content.count(b"{") <= _SAFE_LEVELS:
        return False
    try:
        orjson.dumps(row, default=str)
    except TypeError:
        return True
    return False


def _parse_whole(content: bytes) -> dict[str, Any] | QuarantinedRowError:
    row = _parse_object(content)
    if isinstance(row, dict) and _is_too_deep(content, row):
        return QuarantinedRowError(*_TOO_DEEP)
    if isinstance(row, dict) and _LONG_INTEGER.search(content):
        integers: list[str] = []
        json.loads(content, parse_int=integers.append)
        # orjson reads these as floats.
        if any(len(each) > 20 or not -(2**63) <= int(each) < 2**64 for each in integers):
            detail = "an integer of more than 64 bits, which would lose digits; put it in quotes"
            return QuarantinedRowError("number too large", detail)
    return row


# Reading Parquet and Arrow

# A batch has at most this many rows, and about as many as fit into BATCH_BYTES.
BATCH_ROWS = 1000
BATCH_BYTES = 1 << 23
_BUFFER_BYTES = 1 << 20
_ARROW_FILE = b"ARROW1"  # a stream begins with the length of its schema

# Batches of the columns that the second argument chooses from the schema; None: of all.
Batches = Callable[[Path, Callable[[Any], list[str] | None]], Iterator[Any]]


def parquet_batches(path: Path, choose: Callable[[Any], list[str] | None]) -> Iterator[Any]:
    """The batches of a Parquet file. Arrow reads it, because polars panics on damaged files."""
    from pyarrow.parquet import ParquetFile

    # With pre_buffer, Arrow loads whole columns of a row group, and often a file is one group.
    with ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        columns = choose(file.schema_arrow)
        groups = map(file.metadata.row_group, range(file.num_row_groups))
        sizes = [group.total_byte_size / max(1, group.num_rows) for group in groups]
        rows = max(1, min(BATCH_ROWS, int(BATCH_BYTES / max([1, *sizes]))))
        yield from file.iter_batches(rows, columns=columns)


def arrow_batches(path: Path, choose: Callable[[Any], list[str] | None]) -> Iterator[Any]:
    """The batches of an Arrow stream, as `datasets` saves it to disk, or of an Arrow file."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            reader = pa.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            file.seek(0)
            batches = reader = pa.ipc.open_stream(file)
        columns = choose(reader.schema)
        for batch in batches:
            chosen = batch if columns is None else batch.select(columns)
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield chosen.slice(start, BATCH_ROWS)


def parse_batches(
    batches: Batches, path: Path, data: DataConfig, name: str, *, whole: bool = False
) -> Iterator[ParsedRow]:
    """Read a Parquet or Arrow file in batches; the line of a row is its number, from 1.

    ``whole`` rows have all columns, not only those that the config names.

    Raises:
        DataError: the file is damaged, is not of its format, or lacks a column.
    """
    import pyarrow as pa

    line, names = 0, list[str]()

    def choose(schema: Any) -> list[str] | None:
        names.extend(class_names(schema.metadata, data, name))
        columns = check_columns(schema.names, data, name)
        return None if whole else columns

    try:
        for batch in batches(path, choose):
            size = batch.nbytes // max(1, batch.num_rows)
            for row in batch.to_pylist():
                line += 1
                yield ParsedRow(line, None, _named(row, data.label_column, names), size)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # Arrow raises OSError and ValueError, too, if the file is damaged.
        why = shorten(str(error), 160).rstrip(".")
        kind = "a Parquet file" if batches is parquet_batches else "an Arrow file"
        raise DataError(
            f"{name}: not {kind} that can be read (after row {line}): {why}; write it again"
        ) from None


def class_names(metadata: dict[bytes, bytes] | None, data: DataConfig, name: str) -> list[str]:
    """The label names that the library `datasets` wrote into an Arrow schema; empty without any.

    Raises:
        DataError: ``data.labels`` gives the integers other names.
    """
    try:
        features = orjson.loads((metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[data.label_column]
        names = list(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else []
    except (KeyError, TypeError, ValueError):
        return []
    names = normal_labels(names, data.language)
    configured = normal_labels(data.labels or names, data.language)
    common = [label for label in configured if label in names]
    if names and (not common or common != [label for label in names if label in configured]):
        raise DataError(
            f"{name}: its labels are, in this order, {listed(names)}; data.labels lists "
            f"{listed(configured)}: use the names and the order of the file, or remove data.labels"
        )
    return names


def _named(
    row: dict[str, Any], column: str, names: list[str]
) -> dict[str, Any] | QuarantinedRowError:
    """``row`` with the name of its label."""
    label = row.get(column)
    if not names or not isinstance(label, int):
        return row
    if not 0 <= label < len(names):  # -1 is none, by convention
        detail = f"`{label}` has no name; the file names the labels 0 to {len(names) - 1}"
        return QuarantinedRowError("unknown label", detail)
    return {**row, column: names[label]}
