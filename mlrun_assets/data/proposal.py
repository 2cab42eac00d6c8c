"""What a file of labelled rows is about: its text, label, id and group columns, its language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.language import UNKNOWN, load_detector, words_only
from mlrun_assets.data.content import format_of
from mlrun_assets.data.reading import DataFile, parse_file
from mlrun_assets.data.rows import NOT_UTF8, ParsedRow, QuarantinedRowError, row_values
from mlrun_assets.data.sources import data_file, saved_files
from mlrun_assets.data.text import shorten
from mlrun_assets.errors import DataError, count, listed

MOST_ROWS = 20_000
MOST_BYTES = 64 << 20
UNKNOWN_LANGUAGE = "und"
_JUDGED = 500
_LONGEST_LABEL = 60
_MOST_LABELS = 200
_TEXT_NAMES = re.compile(r"text|sentence|content|body|tweet|message|comment|review|document|post")
_TITLE_NAMES = re.compile(r"(?:.*[ _.-])?(?:headline|title|subject)s?")
_LABEL_NAMES = re.compile(r"(?:.*[ _.-])?(?:labels?|categor(?:y|ies)|class|topic|target|intent|"
                          r"sentiment|tag|genre|subject)(?:[ _.-].*)?")  # fmt: skip
_ID_NAMES = re.compile(r"(?:.*[ _.-])?(?:id|uuid|guid|key|nr|no|index)|\w*Id")
_GROUP_NAMES = re.compile(
    r"(?:author|user|speaker|writer|annotator_group|doc|document|article|thread|conversation|"
    r"dialogue|patient|customer|session|group)(?:[ _.-]?(?:id|name|key|nr))?"
)
_OTHER_NAMES = re.compile(
    r"(?:split|fold|source|lang|language|url|link|date|year|time|country|region|gender|sex|age|"
    r"annotator|confidence|score|notes?)(?:[ _.-]?(?:id|name|key|nr|code))?"
)


@dataclass(frozen=True)
class Proposal:
    """The columns of labelled rows and their meaning, as far as the rows show it.

    ``id_column`` and ``language`` are values for the config; ``has_id``: the rows have ids.
    ``labels`` counts the rows of each label among the ``rows`` that were read; ``whole`` says
    whether these are all. ``examples`` has a label, a text and perhaps an id. ``language_share``:
    of the judged texts. ``encoding``: a guess; empty for Unicode.
    """

    name: str
    rows: int
    whole: bool
    texts: tuple[str, ...]
    label: str
    id_column: str | Literal[False] | None
    has_id: bool
    group: str | None
    others: tuple[str, ...]
    labels: Counter[str]
    unusable: Counter[str]
    examples: tuple[tuple[str, ...], ...]
    encoding: str
    language: str
    language_share: float


def files_in(path: Path) -> list[DataFile]:
    """The file, or the data files of a directory: `datasets` saved it, or they are in it.

    Raises:
        DataError: a file is missing, can't be read or has an unknown format; a directory has none.
    """
    if not path.is_dir():
        return [data_file(path)]
    parts = [path, *sorted(each for each in path.iterdir() if each.is_dir())]
    saved = {part: saved_files(str(part)) for part in parts}
    named = [Path(file) for part, each in saved.items() if each != [str(part)] for file in each]
    if not named:
        every = sorted(file for file in path.rglob("*") if file.is_file() and format_of(file.name))
        named = [file for file in every if file.suffix != ".json"] or every
    if not named:
        raise DataError(f"{path}: no data file in this directory; name the file of your rows")
    return [data_file(file) for file in named]


def propose(path: Path, text: str | None = None, label: str | None = None) -> Proposal:
    """Find the columns and the language of the labelled rows in a file or directory.

    At most the first `MOST_ROWS` rows are read. ``text`` and ``label`` name columns that are known;
    without ``text``, a column of titles belongs to the text.

    Raises:
        DataError: the rows can't be read, or have no text or label column, or several.
    """
    files = files_in(path)
    first = list(islice(_rows(files, _any_columns()), MOST_ROWS))
    columns = _columns([parsed.row for parsed in first], path)
    for name in filter(None, (text, label)):
        if name not in columns:
            raise DataError(f"{path}: no column `{name}`; it has {_names(columns)}")
    found = text or _text_column(columns, label, path)
    label = label or _label_column(columns, found, path)
    texts = (found,) if text else (*_title_columns(columns, found, label), found)
    id_column = _id_column(columns, {*texts, label})
    group = _group_column(columns, {*texts, label, id_column})
    data = DataConfig(text_columns=texts, label_column=label, id_column=id_column)
    read = list(islice(_rows(files, data), MOST_ROWS + 1))
    values, unusable = [], Counter[str]()
    for number, parsed in enumerate(read[:MOST_ROWS], 1):
        try:
            if isinstance(parsed.row, QuarantinedRowError):
                raise parsed.row
            values.append(row_values(parsed.row, str(number), data))
        except QuarantinedRowError as error:
            unusable[error.reason] += 1
    labels = Counter(row["label"] for row in values)
    if len(labels) < 2:
        raise DataError(
            f"{path}: column `{label}` has {count(len(labels), 'label')} in "
            f"{count(len(values), 'usable row')}; two are needed: name another one with --label"
        )
    language, share = guess_language([row["text"] for row in values])
    has_id = bool(id_column) or (id_column is None and "id" in columns)
    used = {*texts, label, id_column, group, "id" if id_column is None else None}
    firsts = {row["label"]: row for row in reversed(values)}
    others = [row for row in values[:3] if row not in firsts.values()]
    shown = [*firsts.values(), *others][:3]
    return Proposal(
        name=path.name.partition(".")[0] or "rows",
        rows=min(len(read), MOST_ROWS),
        whole=len(read) <= MOST_ROWS,
        texts=texts,
        label=label,
        id_column=id_column,
        has_id=has_id,
        group=group,
        others=tuple(name for name in columns if name not in used),
        labels=labels,
        unusable=unusable,
        examples=tuple(
            (row["label"], shorten(row["text"], 70), *([row["id"]] if has_id else []))
            for row in shown
        ),
        encoding=max(parsed.encoding for parsed in first),
        language=language,
        language_share=share,
    )


def guess_language(texts: Sequence[str]) -> tuple[str, float]:
    """The language of most texts, as a code for the config, and their share.

    Without one that half of the texts have, `UNKNOWN_LANGUAGE`.
    """
    detect = load_detector("pycld2").detect
    step = max(1, len(texts) // _JUDGED)
    words = words_only(pl.Series(texts[::step][:_JUDGED], dtype=pl.String))
    found = Counter(detect(text, None) for text in words if text.strip())
    [(code, times)] = found.most_common(1) or [("", 0)]
    share = times / max(1, found.total())
    # CLD2 takes Kirundi for Kinyarwanda. Kirundi writes `vy` where that has `by`: 9,766 and 90
    # times in the train texts of MasakhaNEWS; 0 and 363 times in Kinyarwanda, in those of SIB-200.
    if code == "rw" and words.str.count_matches("vy").sum() > words.str.count_matches("by").sum():
        code = "rn"
    known = code not in UNKNOWN and re.fullmatch("[a-z]{2,3}", code) and share >= 0.5
    return (code, share) if known else (UNKNOWN_LANGUAGE, 0.0)


# The columns


class _Column(NamedTuple):
    """The values of a column.

    ``filled`` is the share of rows with one, ``repeats`` the mean number of rows with the same. A
    row of JSON may lack the column; without ``in_all`` it could not be used.
    """

    name: str
    in_all: bool
    filled: float
    kinds: frozenset[str]
    characters: float
    words: float
    longest: int
    distinct: int
    repeats: float

    def is_named(self, names: re.Pattern[str]) -> bool:
        return names.fullmatch(self.name.strip().lower()) is not None


def _any_columns() -> DataConfig:
    """A config that asks for no column, so that each file has all that it asks for."""
    return DataConfig().texts_only().model_copy(update={"text_columns": ()})


def _rows(files: Sequence[DataFile], data: DataConfig) -> Iterator[ParsedRow]:
    for file in files:
        yield from parse_file(file, data, whole=True, most_bytes=MOST_BYTES)


def _columns(
    rows: Sequence[dict[str, Any] | QuarantinedRowError], path: Path
) -> dict[str, _Column]:
    good = [row for row in rows if isinstance(row, dict)]
    if not good:
        bad = (row for row in rows if isinstance(row, QuarantinedRowError))
        counted = Counter(f"no row can be read: {row.reason}: {row.detail}" for row in bad)
        [(why, _)] = counted.most_common(1) or [("no rows", 0)]
        advice = "" if NOT_UTF8[1] in why else "; save it as CSV or JSON Lines with headings"
        raise DataError(f"{path}: {why}{advice}")
    names = dict.fromkeys(name for row in good for name in row if name)
    return {name: _described(name, good) for name in names}


def _described(name: str, rows: list[dict[str, Any]]) -> _Column:
    values = [row[name] for row in rows if name in row]
    filled = [value for value in values if value is not None and value != ""]
    texts = [str(value) for value in filled]
    counted = Counter(texts)
    number = max(1, len(texts))
    return _Column(
        name=name,
        in_all=len(values) == len(rows),
        filled=len(filled) / len(rows),
        kinds=frozenset(type(value).__name__ for value in filled),
        characters=sum(map(len, texts)) / number,
        words=sum(len(text.split()) for text in texts) / number,
        longest=max(map(len, texts), default=0),
        distinct=len(counted),
        repeats=len(texts) / max(1, len(counted)),
    )


def _names(columns: Sequence[str] | dict[str, _Column]) -> str:
    return listed((f"`{shorten(name, 40)}`" for name in columns), most=8)


def _text_column(columns: dict[str, _Column], label: str | None, path: Path) -> str:
    """The column of strings that is longest, one with a usual name before all others."""
    found = [
        column
        for column in columns.values()
        if column.kinds == {"str"}
        and column.name != label
        and not column.is_named(_OTHER_NAMES)
        and (column.words >= 2 or column.is_named(_TEXT_NAMES))
    ]
    if not found:
        raise DataError(
            f"{path}: no column of texts; it has {_names(columns)}: name it with --text"
        )
    return max(found, key=lambda each: (each.is_named(_TEXT_NAMES), each.characters)).name


def _title_columns(columns: dict[str, _Column], text: str, label: str) -> list[str]:
    """The column of titles of the texts, by its name: different ones of several words."""
    titles = [
        column.name
        for column in columns.values()
        if column.name not in (text, label)
        and column.is_named(_TITLE_NAMES)
        and column.in_all
        and column.kinds == {"str"}
        and column.filled >= 0.5
        and column.words >= 2
        and column.repeats < 2
        and column.characters < columns[text].characters
    ]
    return titles[:1]


def _label_column(columns: dict[str, _Column], text: str, path: Path) -> str:
    """The one column of a few short values that occur often; usual names come first."""
    found = [
        column
        for column in columns.values()
        if column.name != text
        and column.kinds <= {"str", "int"}
        and 2 <= column.distinct <= _MOST_LABELS
        and column.longest <= _LONGEST_LABEL
    ]
    named = [column for column in found if column.is_named(_LABEL_NAMES)]
    exact = [column for column in named if column.name.strip().lower() in ("label", "labels")]
    plain = [
        column
        for column in found
        if not column.is_named(_OTHER_NAMES)
        and not column.is_named(_GROUP_NAMES)
        and not column.is_named(_ID_NAMES)
        and column.repeats >= 2
    ]
    chosen = exact or named or plain
    if len(chosen) != 1:
        what = f"{_names([each.name for each in chosen])} may each be" if chosen else "no column is"
        has = "" if chosen else f"; it has {_names(columns)}"
        raise DataError(f"{path}: {what} the label{has}: name it with --label COLUMN")
    return chosen[0].name


def _id_column(columns: dict[str, _Column], used: set[str]) -> str | Literal[False] | None:
    """A column of unique ids; None for the column ``id`` or none; False if ``id`` is not unique."""
    unique = [
        column.name
        for column in columns.values()
        if column.name not in used
        and column.kinds <= {"str", "int"}
        and column.filled == 1
        and column.repeats == 1
        and column.is_named(_ID_NAMES)
    ]
    if "id" in unique or not unique:
        return False if "id" in columns and "id" not in unique else None
    return unique[0]


def _group_column(columns: dict[str, _Column], used: set[Any]) -> str | None:
    """A column named like an author or document, whose values occur more than once."""
    found = (
        column.name
        for column in columns.values()
        if column.name not in used
        and column.name != "id"
        and column.is_named(_GROUP_NAMES)
        and column.in_all
        and column.distinct >= 10
        and column.repeats > 1.2
    )
    return next(found, None)
