"""Files to rows: JSON Lines, CSV, TSV and Parquet, strictly, one bad row at a time.

A row that can't be read is kept aside with its line and the reason, and reading goes on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import DataError
from mlrun_assets.text import shorten

RAW_CHARACTERS = 500
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}


@dataclass(frozen=True)
class BadRow:
    """A row that is put aside: where it stands, what it says and why it can't be used."""

    split: str
    line: int
    reason: str
    detail: str
    raw: str


@dataclass
class SplitRows:
    """One split as it was read: ``frame`` has a row for each of ``rows_read`` less ``bad``."""

    split: str
    path: Path
    rows_read: int = 0
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    bad: list[BadRow] = field(default_factory=list)


class _UnusableError(Exception):
    """A row can't be used; the arguments are the reason and the detail."""


def check_readable(paths: dict[str, Path]) -> None:
    """Make sure that every file is there before any is read.

    Raises:
        DataError: one message for all files that are missing or no data files.
    """
    problems = []
    for key, path in paths.items():
        if not path.exists():
            problems.append(f"{key}: {path}: no such file")
        elif not path.is_file():
            problems.append(f"{key}: {path}: not a regular file")
        elif _format(path) is None:
            known = ", ".join([*FORMATS, ".parquet"])
            problems.append(f"{key}: {path}: unknown format; use one of {known}")
        else:
            try:
                path.open("rb").close()
            except OSError as error:
                problems.append(f"{key}: {path}: can't be read: {error.strerror}")
    if problems:
        raise DataError(
            "; ".join(problems) + "; correct the path in the data section of ml_config.yaml"
        )


def read_split(split: str, path: Path, data: DataConfig) -> SplitRows:
    """Read one split.

    Returns:
        The rows with the columns ``id``, ``text``, ``label`` (strings), ``line`` (counted from 1)
        and the configured group and slice columns (strings, null where missing).

    Raises:
        DataError: the file as a whole can't be read.
    """
    rows = SplitRows(split, path)
    values: list[dict[str, Any]] = []
    try:
        for line, raw, parsed in _parse(path):
            rows.rows_read += 1
            try:
                if isinstance(parsed, _UnusableError):
                    raise parsed
                values.append(_usable(parsed, line, split, data))
            except _UnusableError as error:
                reason, detail = error.args
                rows.bad.append(BadRow(split, line, reason, detail, shorten(raw, RAW_CHARACTERS)))
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from None
    rows.frame = pl.DataFrame(values, schema=_columns(data), orient="row")
    return rows


def _columns(data: DataConfig) -> dict[str, pl.DataType]:
    extra = [column for column in (data.group_column, *data.slice_columns) if column]
    return {
        "id": pl.String(),
        "text": pl.String(),
        "label": pl.String(),
        "line": pl.Int64(),
        **{extra_column(name): pl.String() for name in extra},
    }


def extra_column(name: str) -> str:
    """The name under which a group or slice column is kept, apart from the four of our own."""
    return f"extra_{name}"


def _format(path: Path) -> str | None:
    return "parquet" if path.suffix.lower() == ".parquet" else FORMATS.get(path.suffix.lower())


def _parse(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | _UnusableError]]:
    """Yields (line, raw text, row or why there is none)."""
    match _format(path):
        case "parquet":
            yield from _parse_parquet(path)
        case "csv":
            yield from _parse_table(path, ",")
        case "tsv":
            yield from _parse_table(path, "\t")
        case _:
            yield from _parse_json_lines(path)


def _parse_json_lines(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | _UnusableError]]:
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            stripped = content.removeprefix(b"\xef\xbb\xbf").strip()
            if stripped:
                raw = stripped.decode("utf-8", errors="replace")
                yield line, raw, _parse_object(stripped)


def _parse_object(content: bytes) -> dict[str, Any] | _UnusableError:
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return _UnusableError("not JSON", error.msg)
    if not isinstance(row, dict):
        return _UnusableError(
            "not an object", f"a JSON {type(row).__name__}, not an object with keys"
        )
    # orjson keeps the last of two equal keys without a word; the slow parser is asked only where
    # there are more colons than keys.
    if content.count(b'":') + content.count(b'" :') > len(row):
        repeated = _repeated_key(content)
        if repeated is not None:
            return _UnusableError("duplicate key", f"the key `{repeated}` stands twice")
    return row


def _repeated_key(content: bytes) -> str | None:
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            keys = [key for key, _ in pairs]
            found.extend(key for key in row if keys.count(key) > 1)
        return row

    json.loads(content, object_pairs_hook=note)
    return found[0] if found else None


def _parse_table(
    path: Path, delimiter: str
) -> Iterator[tuple[int, str, dict[str, Any] | _UnusableError]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader, None)
        if header is None:
            return
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, "", _UnusableError("not a table row", str(error))
                continue
            if values:
                yield line, _join(values, delimiter), _table_row(header, values)


def _table_row(header: list[str], values: list[str]) -> dict[str, Any] | _UnusableError:
    if len(values) != len(header):
        return _UnusableError(
            "wrong number of columns", f"{len(values)} values under {len(header)} headings"
        )
    if any(not value.isascii() and _has_surrogate(value) for value in values):
        return _UnusableError("not UTF-8", "bytes that are not UTF-8; save the file as UTF-8")
    return dict(zip(header, values, strict=True))


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _join(values: list[str], delimiter: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator="").writerow(values)
    return buffer.getvalue().encode("utf-8", errors="replace").decode("utf-8")


def _parse_parquet(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | _UnusableError]]:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a Parquet file: {shorten(str(error), 200)}") from None
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        yield number, str(row), row


def _usable(row: dict[str, Any], line: int, split: str, data: DataConfig) -> dict[str, Any]:
    parts = [_text(row, column) for column in data.text_columns]
    usable = {
        "id": _identifier(row, line, split, data.id_column),
        "text": "\n".join(part for part in parts if part),
        "label": _label(row, data),
        "line": line,
    }
    for column in (data.group_column, *data.slice_columns):
        if column:
            value = _value(row, column)
            usable[extra_column(column)] = None if value is None else str(value)
    return usable


def _value(row: dict[str, Any], column: str) -> Any:
    if column not in row:
        known = ", ".join(f"`{key}`" for key in list(row)[:10])
        raise _UnusableError("missing column", f"no `{column}`; the row has {known}")
    return row[column]


def _text(row: dict[str, Any], column: str) -> str:
    value = _value(row, column)
    if value is None:
        raise _UnusableError("missing text", f"`{column}` is null")
    if not isinstance(value, str):
        raise _UnusableError("text of a wrong type", f"`{column}` is a {type(value).__name__}")
    return value.strip()


def _label(row: dict[str, Any], data: DataConfig) -> str:
    value = _value(row, data.label_column)
    if value is None or value == "":
        raise _UnusableError("missing label", f"`{data.label_column}` is empty")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _UnusableError(
            "label of a wrong type",
            f"`{data.label_column}` is a {type(value).__name__}; use a name or an integer",
        )
    label = str(value)
    names = data.labels
    if names and label not in names and label.isdecimal() and int(label) < len(names):
        return names[int(label)]
    return label


def _identifier(row: dict[str, Any], line: int, split: str, column: str | None) -> str:
    if column is None:
        value = row.get("id")
        return f"{split}-{line}" if value is None else str(value)
    value = _value(row, column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _UnusableError("missing id", f"`{column}` is {value!r}; use a name or an integer")
    return str(value)
