"""A row of a file: its columns mapped to text, label, id and group, or the reason why not.

Labels are names or indices of names, read one way in all files.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.data.text import normal_labels, shorten
from mlrun_assets.errors import DataError

if TYPE_CHECKING:
    from mlrun_assets.data.reading import SplitRows

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


NOT_UTF8 = (
    "not UTF-8",
    "bytes that are not UTF-8; save the file as UTF-8 (`CSV UTF-8` in Excel), or convert it with "
    "`iconv -f ENCODING -t UTF-8`",
)


class ParsedRow(NamedTuple):
    """One row of a file, or the error in its place.

    Attributes:
        line: its first line, counted from 1.
        raw: the row as it is in the file; None for Parquet.
        row: the values by column.
        size: bytes of a row without ``raw``: the mean of its batch.
        lines: the number of its lines.
        encoding: of its file, if that is not Unicode.
    """

    line: int
    raw: bytes | str | None
    row: dict[str, Any] | QuarantinedRowError
    size: int = 0
    lines: int = 1
    encoding: str = ""

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


# Labels as names or indices; names that look alike

# At most 18 digits: Python refuses to convert thousands of them.
_NUMBER = re.compile(r"-?\d{1,18}")
_INDEX = re.compile(r"\d{1,9}")
_WHOLE = re.compile(r"([-+]?\d{1,18})(?:\.0*)?")


class LabelSet(NamedTuple):
    """The labels of the data in order, and why others that occur are unknown."""

    names: tuple[str, ...]
    unknown: dict[str, str]


def name_labels(splits: dict[str, SplitRows], data: DataConfig) -> LabelSet:
    """Replace indices of ``data.labels`` by names, in the frames of ``splits``.

    The labels of all splits are read one way: as indices only if none is a name, no name is a
    number, and the numbers count from 0. Without ``data.labels`` the labels are those of train, or
    of all splits if no row of train can be used.
    """
    found = {label for rows in splits.values() for label in rows.frame["label"].unique()}
    if not data.labels:
        names = label_set(splits["train"].frame["label"]) or label_set(pl.Series(list(found)))
        return LabelSet(names, dict.fromkeys(found.difference(names), "no row of train has it"))
    names = tuple(dict.fromkeys(normal_labels(data.labels, data.language)))
    indices = {label: int(label) for label in found if _INDEX.fullmatch(label)}
    unknown = dict.fromkeys(found.difference(names), "data.labels does not list it")
    if why := _no_indices(splits, names, set(indices.values())):
        return LabelSet(names, unknown | dict.fromkeys(indices, why))
    named = {label: names[index] for label, index in indices.items() if index < len(names)}
    for rows in splits.values():
        rows.frame = rows.frame.with_columns(pl.col("label").replace(named))
    return LabelSet(names, unknown)


def _no_indices(splits: dict[str, SplitRows], names: Sequence[str], numbers: set[int]) -> str:
    """Why the ``numbers`` among the labels are not indices of ``names``; empty if they are."""
    if number := next(filter(is_number, names), None):
        return f"numbers are names, not indices, because data.labels lists `{number}`"
    for rows in splits.values():
        named = rows.frame.filter(pl.col("label").is_in(list(names)))
        for label, file, line in named.select("label", "file", "line").head(1).iter_rows():
            return f"numbers are not indices, because {file}, line {line}, has the name `{label}`"
    if 0 not in numbers and len(names) in numbers:
        return f"numbers are not indices from 0, because {len(names)} occurs and 0 does not"
    return ""


def is_number(name: str) -> bool:
    """Whether a label is a number, in digits of any script."""
    return re.sub(r"^[-+]|[.,]", "", name).isnumeric()


# Characters without a shape of their own that Python takes for printable: fillers and variations.
_SHAPELESS = re.compile("[\u034f\u115f\u1160\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def look_alikes(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of labels that may be taken for each other; the earlier one comes first.

    They differ only in case, spaces, Unicode form, invisible characters, or letters that look the
    same, such as Latin and Cyrillic a; or they are one whole number, such as 1 and 1.0.
    """
    first: dict[tuple[str, str], str] = {}
    pairs = []
    for label in labels:
        others = [first.setdefault(shape, label) for shape in _shapes(label)]
        pairs += [(other, label) for other in dict.fromkeys(others) if other != label]
    return pairs


def _shapes(label: str) -> tuple[tuple[str, str], ...]:
    """What the label looks like in capitals and in small letters; as a number, its value.

    Each character is replaced by the one that it may be taken for (Unicode Technical Standard 39).
    ASCII is kept: 1 and l are look-alikes as well, but they do distinguish labels.
    """
    shaped = "".join(filter(is_visible, _SHAPELESS.sub("", label)))
    visible = unicodedata.normalize("NFKC", shaped)
    # Cyrillic and Latin T look the same only as capitals, Cyrillic and Latin i only as small ones.
    capitals, small = visible.upper(), visible.casefold()
    whole = _WHOLE.fullmatch(visible)
    return (
        *([("number", str(int(whole[1])))] if whole else []),
        # The table's prototype of capitals that look like I is a small l.
        ("capitals", capitals.translate(_prototypes()).replace("l", "I")),
        ("small", small.translate(_prototypes())),
    )


@cache
def _prototypes() -> dict[int, str]:
    from confusable_homoglyphs.confusables import confusables_data

    def is_right_to_left(character: str) -> bool:
        return unicodedata.bidirectional(character) in ("R", "AL", "AN")

    found = {}
    for name, similar in confusables_data.items():
        # The table has marks of direction around what is written from right to left.
        character, *others = (each.strip("\u200e") for each in (name, *(s["c"] for s in similar)))
        if len(others) > 1 or len(character) > 1 or character.isascii():
            continue  # a prototype has several sources
        target = others[0]
        mutual = [each["c"] for each in confusables_data.get(target, ())] == [name]
        if mutual and character < target:
            continue
        # An Arabic or Hebrew letter is not taken for a Latin one, nor are combining marks.
        if unicodedata.category(character)[0] != "M" and (
            is_right_to_left(target[0]) or not is_right_to_left(character)
        ):
            found[ord(character)] = target
    return found


def label_set(labels: pl.Series) -> tuple[str, ...]:
    """The labels without repetition, sorted; if all are integers, by value."""
    found = labels.unique().to_list()
    numbers = all(_NUMBER.fullmatch(label) for label in found)
    return tuple(sorted(found, key=int if numbers else None))
