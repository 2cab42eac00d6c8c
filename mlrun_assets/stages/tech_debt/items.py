"""Items of ``_tech-debt.md``: how they are found, read, and given another field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mlrun_assets.registry_file import MarkdownLines, one_line

_ITEM = re.compile(
    r"(?P<start>\ufeff?(?P<indent>[ \t]*)[-*+][ \t]+\[)(?P<mark>[ xX])"
    r"(?P<end>\][ \t]+\**TD-(?P<number>[0-9]{1,9})\**:\**[ \t]*(?P<description>.*))"
)
_FIELD = re.compile(
    r"(?P<bullet>[ \t]+[-*+][ \t]+)\**(?P<name>Impact|Source|Area|Detail|Last seen|Resolved)\**:\**"
    r"(?P<value>.*)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\bTD-([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_RETURNED = re.compile(r"\s*\(returned, was TD-[0-9]+\)\s*$")


@dataclass(frozen=True)
class Field:
    """A line below an item, as ``  - **Impact:** High``: where it is, what leads it, its value."""

    index: int
    bullet: str
    value: str


@dataclass(frozen=True)
class Item:
    """One item: the index of its line, what it says, and that line once it is ticked."""

    index: int
    number: int
    done: bool
    ticked: str
    description: str
    fields: dict[str, Field]

    def value(self, name: str) -> str:
        """The value of a field, by its name in lower case; empty: there is none."""
        return self.fields[name].value if name in self.fields else ""

    @property
    def ours(self) -> bool:
        return "impl-ml-run-" in self.value("source")

    @property
    def area(self) -> str:
        return plain_area(self.value("area"))

    def is_about(self, area: str, description: str) -> bool:
        """Whether this is that issue, by its area, or by its description if it has no area."""
        if self.area:
            return self.area == plain_area(area)
        return _core(self.description) == _core(one_line(description))

    def lies_in(self, area: str) -> bool:
        """Whether this is about ``area`` or something below it; what has no area never is."""
        return bool(self.area) and f"{self.area}/".startswith(f"{area}/")


def find_items(lines: MarkdownLines) -> Iterator[Item]:
    """All items, in the order of the file."""
    prose = list(lines.prose())
    for position, (index, text) in enumerate(prose):
        match = _ITEM.fullmatch(text)
        if match:
            yield Item(
                index=index,
                number=int(match["number"]),
                done=match["mark"] != " ",
                ticked=f"{match['start']}x{match['end']}",
                description=match["description"].strip(),
                fields=_fields(prose[position + 1 :], match["indent"]),
            )


def set_field(lines: MarkdownLines, index: int, name: str, value: str) -> None:
    """Give the item at ``index`` a field: in its place, or below the fields that it has."""
    item = next(item for item in find_items(lines) if item.index == index)
    last = max(item.fields.values(), key=lambda field: field.index)
    field = item.fields.get(name.lower())
    if field is None:
        lines.insert(last.index + 1, f"{last.bullet}**{name}:** {value}")
    elif field.value != value:
        lines.replace(field.index, f"{field.bullet}**{name}:** {value}")


def next_number(lines: MarkdownLines) -> int:
    """One more than the highest number that stands anywhere in the file."""
    numbers = (int(number) for text in lines.texts for number in _NUMBER.findall(text))
    return max(numbers, default=0) + 1


def plain_area(area: str) -> str:
    """``area`` without what people set it in."""
    return one_line(area).strip("`* ")


def _fields(below: list[tuple[int, str]], indent: str) -> dict[str, Field]:
    """The fields among the lines that are indented more than their item; the first of a name."""
    fields: dict[str, Field] = {}
    for index, text in below:
        if not text.strip():
            continue
        if len(text) - len(text.lstrip(" \t")) <= len(indent) or _ITEM.fullmatch(text):
            break
        match = _FIELD.fullmatch(text)
        if match:
            field = Field(index, match["bullet"], match["value"].strip())
            fields.setdefault(match["name"].lower(), field)
    return fields


def _core(description: str) -> str:
    return _RETURNED.sub("", description).casefold().rstrip(" .")
