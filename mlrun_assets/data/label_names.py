"""Labels: names or indices of names, read one way in all files; names that look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.reading import SplitRows
from mlrun_assets.data.rows import is_visible
from mlrun_assets.data.text import normal_labels

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
