"""A row of a file: its columns mapped to text, label, id and group, or the reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.data.text import shorten
from mlrun_assets.errors import DataError

RAW_CHARACTERS = 500
# Lines can be huge. This much is enough for RAW_CHARACTERS once white space is collapsed.
RAW_BYTES = 8 * RAW_CHARACTERS


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that is not used: its place, its content and the reason."""

    split: str
    file: str
    line: int
    reason: str
    detail: str
    raw: str


# Of each reason and split; the others are counted.
MOST_LISTED = 10_000


class Quarantine:
    """The quarantined rows of a split: all counted by reason, the first `MOST_LISTED` of each kept.

    Its length is the number of all rows; iteration gives those that are kept.
    """

    def __init__(self, rows: Iterable[QuarantinedRow] = ()) -> None:
        self._rows: list[QuarantinedRow] = []
        self.reasons: Counter[str] = Counter()
        for row in rows:
            self.add(row.reason, [row])

    def keeps(self, reason: str) -> bool:
        """Whether the next row with this reason is kept."""
        return self.reasons[reason] < MOST_LISTED

    def add(self, reason: str, rows: Iterable[QuarantinedRow], number: int = 1) -> None:
        """Count ``number`` rows, of which ``rows`` are the first; keep those below the limit."""
        self._rows += islice(rows, max(0, MOST_LISTED - self.reasons[reason]))
        self.reasons[reason] += number

    def __len__(self) -> int:
        return self.reasons.total()

    def __iter__(self) -> Iterator[QuarantinedRow]:
        return iter(self._rows)

    def __add__(self, other: Quarantine) -> Quarantine:
        both = Quarantine()
        for part in (self, other):
            for reason, number in part.reasons.items():
                both.add(reason, (row for row in part if row.reason == reason), number)
        return both

    @property
    def unlisted(self) -> Counter[str]:
        """By reason, the number of rows that are not kept."""
        return self.reasons - Counter(row.reason for row in self)


@dataclass(eq=False)
class QuarantinedRowError(Exception):
    """A row must be quarantined: one of a few fixed reasons, and the cause in this row."""

    reason: str
    detail: str


NOT_UTF8 = ("not UTF-8", "bytes that are not UTF-8; save the file as UTF-8")


class ParsedRow(NamedTuple):
    """One row of a file, or the error in its place.

    Attributes:
        line: its first line, counted from 1.
        raw: the row as it is in the file; None for Parquet.
        row: the values by column.
        size: bytes of a row without ``raw``: the mean of its batch.
        lines: the number of its lines.
    """

    line: int
    raw: bytes | str | None
    row: dict[str, Any] | QuarantinedRowError
    size: int = 0
    lines: int = 1

    def shown(self) -> str:
        """The row for the quarantine file, shortened."""
        raw = (str(self.row) if self.raw is None else self.raw)[:RAW_BYTES]
        text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
        return printable(shorten(text, RAW_CHARACTERS))


def row_too_long(limit: int) -> QuarantinedRowError:
    """The error of a row of more than ``limit`` bytes or characters."""
    detail = f"more than {limit / 1e6:g} MB; shorten it, or raise data.max_row_mb"
    return QuarantinedRowError("row too long", detail)


def printable(text: str) -> str:
    """``text`` with a question mark for each lone surrogate, which UTF-8 can't encode."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def check_columns(found: Iterable[str], data: DataConfig, file: str) -> list[str]:
    """The columns of a file that are read, in the order of the file.

    Raises:
        DataError: the file lacks a column that the config names.
    """
    found = list(found)
    needed = [*data.text_columns, data.label_column, data.id_column, *data.extra_columns]
    missing = [f"`{name}`" for name in dict.fromkeys(needed) if name and name not in found]
    if missing:
        # Not shortened by `shorten`, which would hide the spaces around a name.
        listed = ", ".join(f"`{printable(name)[:40]}`" for name in found[:12]) or "none"
        raise DataError(
            f"{file}: no column {', '.join(missing)}; it has {listed}: correct text_columns, "
            "label_column and the other columns in the data section of ml_config.yaml"
        )
    return [name for name in found if name in needed or (name == "id" and data.id_column is None)]


def row_values(row: dict[str, Any], default_id: str, data: DataConfig) -> dict[str, Any]:
    """The values of ``id``, ``text``, ``label`` and the configured extra columns.

    The label is None if the config has no label column: see `DataConfig.texts_only`.

    Raises:
        QuarantinedRowError: a value is missing or has a wrong type.
    """
    text = joined_text(row, data)
    kept: dict[str, Any] = {
        "id": _identifier(row, default_id, data.id_column),
        "text": text,
        "label": _label(row, data) if data.label_column else None,
    }
    for column in data.extra_columns:
        value = _value(row, column)
        kept[extra_column(column)] = None if value is None else str(value)
    return kept


def joined_text(row: dict[str, Any], data: DataConfig) -> str:
    """The texts of the text columns, joined by line breaks; one that is null is empty.

    Raises:
        QuarantinedRowError: a column is missing or is not text, all are null, or the text is too
            long.
    """
    parts = [_value(row, column) for column in data.text_columns]
    for column, value in zip(data.text_columns, parts, strict=True):
        if not isinstance(value, str | None):
            detail = f"`{column}` is a {type(value).__name__}"
            raise QuarantinedRowError("text of a wrong type", detail)
    if all(value is None for value in parts):
        names = ", ".join(f"`{column}`" for column in data.text_columns)
        raise QuarantinedRowError("missing text", f"{names} is null")
    text = "\n".join(filter(None, (value.strip() for value in parts if value)))
    if len(text) > data.max_text_characters:
        limit = f"more than {data.max_text_characters:,} characters"
        detail = f"{limit}; shorten it, or raise data.max_text_characters"
        raise QuarantinedRowError("text too long", detail)
    return text


def _value(row: dict[str, Any], column: str) -> Any:
    if column not in row:
        known = ", ".join(f"`{shorten(key, 40)}`" for key in list(row)[:10])
        detail = f"no `{column}`; the row has {known or 'no key'}"
        raise QuarantinedRowError("missing column", detail)
    return row[column]


def _label(row: dict[str, Any], data: DataConfig) -> str:
    value = _value(row, data.label_column)
    if value is None or (isinstance(value, str) and not any(map(is_visible, value))):
        raise QuarantinedRowError("missing label", f"`{data.label_column}` is empty")
    if isinstance(value, bool) or not isinstance(value, str | int):
        detail = f"`{data.label_column}` is a {type(value).__name__}; use a name or an integer"
        raise QuarantinedRowError("label of a wrong type", detail)
    return str(value)


def is_visible(character: str) -> bool:
    """Whether a character is printed, and not as a space."""
    return character.isprintable() and not character.isspace()


def _identifier(row: dict[str, Any], default: str, column: str | Literal[False] | None) -> str:
    if not column:
        value = row.get("id") if column is None else None
        return default if value is None or value == "" else str(value)
    value = _value(row, column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        shown = shorten(repr(value), 60)
        raise QuarantinedRowError("missing id", f"`{column}` is {shown}; use a name or an integer")
    return str(value)
