"""The registry of tech debt, ``_tech-debt.md``: one item per issue, beside the items of people.

    - [ ] **TD-NNN**: [Issue description]
      - **Impact:** [Priority]
      - **Source:** impl-ml-run-[experiment]-YYYYMMDD.md
      - **Area:** [stage/check; later runs find the issue by it]

``Detail`` (the figures of the last run), ``Last seen`` and ``Resolved`` follow where they apply.
People may reword the description, change the impact and add lines. The area identifies an item of
this package. An item whose source is not a run belongs to people and is never changed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mlrun_assets.errors import RecordError, count
from mlrun_assets.markdown import clean, escape, prose
from mlrun_assets.records import DebtChange, DebtItem, TechDebtRecord
from mlrun_assets.registries.registry import (
    MarkdownLines,
    check_report_name,
    edit,
    printable,
    read_lines,
)

FILE = "_tech-debt.md"
HEADING = "# Tech debt"

Impact = Literal["High", "Medium", "Low"]
_Key = tuple[str, str]


@dataclass(frozen=True)
class DebtIssue:
    """An issue that a run found.

    Attributes:
        area: such as ``data/class_balance``; the same in every run, and unique within a run.
        description: a sentence without figures.
        impact: High if it blocks or fails a threshold, Medium for a warning, Low for advice.
        detail: the figures of this run, if any.
    """

    area: str
    description: str
    impact: Impact
    detail: str = ""


def record_debt(
    reports_dir: Path, report: str, issues: Sequence[DebtIssue], examined: Collection[str]
) -> TechDebtRecord:
    """Update the registry with the issues of a run.

    A new issue becomes a new item. An open item whose issue is found again gets a ``Last seen``
    field. An open item of this package is ticked if its area was examined and the issue was not
    found. A ticked issue that returns becomes a new item that names the old one. A repeated call
    changes nothing.

    Args:
        reports_dir: where the registry is.
        report: the name of this run's report, without ``.md``.
        issues: the issues that this run found, at most one per area.
        examined: the areas that this run examined; ``data`` includes all below ``data/``.

    Raises:
        RecordError: an area is empty or not unique, ``report`` is no report name, or the
            registry can't be written.
    """
    check_report_name(report)
    path = reports_dir / FILE
    _check_areas(issues, path)

    def record(lines: MarkdownLines) -> tuple[DebtChange, ...]:
        changes = _Changes(lines, f"{report}.md")
        ours = [item for item in find_items(lines) if item.ours]
        unseen: defaultdict[_Key, list[Item]] = defaultdict(list)
        for item in ours:
            unseen[item.key].append(item)
        for issue in issues:
            known = [item for key in _keys(issue) for item in unseen.pop(key, ())]
            changes.add_found(issue, sorted(known, key=lambda item: item.index))
        for item in ours:
            if item.key in unseen and any(item.is_within(area) for area in examined):
                changes.add_gone(item)
        return changes.make()

    return TechDebtRecord(file=str(path), changes=edit(path, HEADING, record))


def _check_areas(issues: Sequence[DebtIssue], path: Path) -> None:
    for area, times in Counter(plain_area(issue.area) for issue in issues).items():
        if not area or times > 1:
            raise RecordError(
                f"{path}: {count(times, 'issue')} of this run with the area {area!r}; give every "
                "issue its own area, such as data/class_balance/LABEL"
            )


class _Changes:
    """What one run changes. Lines are inserted last, so that the items' indices stay valid."""

    def __init__(self, lines: MarkdownLines, source: str) -> None:
        self._lines = lines
        self._source = source
        self._number = max(_numbers(lines), default=0)
        self._fields: defaultdict[int, list[str]] = defaultdict(list)
        self._items: list[str] = []
        self._changes: list[DebtChange] = []

    def add_found(self, issue: DebtIssue, known: list[Item]) -> None:
        """Add or update the item of an issue, whose items in the file are ``known``."""
        still_open = [item for item in known if not item.done]
        if not still_open:
            self._add_item(issue, known)
            return
        item = still_open[-1]
        new = self._source in item.value("source")
        if not new:
            self._set(item, "Last seen", self._source)
        if issue.detail:
            self._set(item, "Detail", prose(issue.detail))
        if not item.area:
            self._set(item, "Area", escape(plain_area(issue.area)))
        self._changes.append(_change(item, "new" if new else "repeated"))

    def add_gone(self, item: Item) -> None:
        """Tick an open item whose issue was not found."""
        if not item.done:
            self._lines.texts[item.index] = item.ticked
            self._set(item, "Resolved", self._source)
        if not item.done or item.value("resolved") == self._source:
            self._changes.append(_change(item, "resolved"))

    def make(self) -> tuple[DebtChange, ...]:
        """Insert the lines."""
        if self._items:
            self._fields[len(self._lines.texts)] += self._items
        self._lines.insert(self._fields)
        return tuple(self._changes)

    def _add_item(self, issue: DebtIssue, ticked: list[Item]) -> None:
        self._number += 1
        text = clean(issue.description)
        if ticked:
            text += f" (returned, was TD-{max(item.number for item in ticked):03d})"
        self._items += [
            f"- [ ] **TD-{self._number:03d}**: {prose(text)}",
            f"  - **Impact:** {issue.impact}",
            f"  - **Source:** {self._source}",
            f"  - **Area:** {escape(plain_area(issue.area))}",
            *([f"  - **Detail:** {prose(issue.detail)}"] if issue.detail else []),
        ]
        change = DebtChange(
            number=self._number, description=text, impact=issue.impact, change="new"
        )
        self._changes.append(change)

    def _set(self, item: Item, name: str, value: str) -> None:
        """Set a field of an item; a new field goes below its last one."""
        field = item.fields.get(name.lower())
        if field is None:
            last = max(item.fields.values(), key=lambda field: field.index)
            self._fields[last.index + 1].append(f"{last.bullet}**{name}:** {value}")
        elif field.value != value:
            self._lines.texts[field.index] = f"{field.bullet}**{name}:** {value}"


def _change(item: Item, change: str) -> DebtChange:
    return DebtChange(
        number=item.number,
        description=printable(item.description),
        impact=printable(item.value("impact")),
        change=change,
    )


def read_open_debt(reports_dir: Path) -> tuple[DebtItem, ...]:
    """All open items, including those of people; no items if the file is missing.

    Raises:
        RecordError: the registry is a directory or can't be read.
    """
    return tuple(
        DebtItem(
            number=item.number,
            description=printable(item.description),
            impact=printable(item.value("impact")),
        )
        for item in find_items(read_lines(reports_dir / FILE))
        if not item.done
    )


# Items and their fields in the lines of the file

_ITEM = re.compile(
    r"(?P<start>\ufeff?(?P<indent>[ \t]*)[-*+][ \t]+\[)(?P<mark>[ xX])"
    r"(?P<end>\][ \t]+\**TD-(?P<number>[0-9]{1,18})\**:\**[ \t]*(?P<description>.*))"
)
_FIELD = re.compile(
    r"(?P<bullet>[ \t]+[-*+][ \t]+)\**(?P<name>Impact|Source|Area|Detail|Last seen|Resolved)\**:\**"
    r"(?P<value>.*)",
    re.IGNORECASE,
)
_RETURNED = re.compile(r"\s*\(returned, was TD-[0-9]+\)\s*$")


@dataclass(frozen=True)
class Field:
    """A line below an item, such as ``  - **Impact:** High``: line index, bullet and value."""

    index: int
    bullet: str
    value: str


@dataclass(frozen=True)
class Item:
    """An item: the index and content of its line, and ``ticked``, that line with an x."""

    index: int
    number: int
    done: bool
    ticked: str
    description: str
    fields: dict[str, Field]

    def value(self, name: str) -> str:
        """The value of a field, by its name in lower case; empty if it is missing."""
        return self.fields[name].value if name in self.fields else ""

    @property
    def ours(self) -> bool:
        return "impl-ml-run-" in self.value("source")

    @cached_property
    def area(self) -> str:
        return plain_area(printable(self.value("area")))

    @cached_property
    def key(self) -> _Key:
        """The area, or without an area the description: a run finds the item by it."""
        if self.area:
            return "area", self.area
        return "description", _core(printable(self.description))

    def is_within(self, area: str) -> bool:
        """Whether the item's area is ``area`` or below it; False without an area."""
        return bool(self.area) and f"{self.area}/".startswith(f"{area}/")


def find_items(lines: MarkdownLines) -> Iterator[Item]:
    """All items, in the order of the file.

    The fields of an item are the lines below it that are indented more; of equal names the first.
    """
    item, indent = None, 0
    for index, text in lines.prose():
        if match := _ITEM.fullmatch(text):
            if item:
                yield item
            indent = len(match["indent"])
            item = Item(
                index=index,
                number=int(match["number"]),
                done=match["mark"] != " ",
                ticked=f"{match['start']}x{match['end']}",
                description=match["description"].strip(),
                fields={},
            )
        elif item and text.strip():
            if len(text) - len(text.lstrip(" \t")) <= indent:
                yield item
                item = None
            elif match := _FIELD.fullmatch(text):
                field = Field(index, match["bullet"], match["value"].strip())
                item.fields.setdefault(match["name"].lower(), field)
    if item:
        yield item


def _numbers(lines: MarkdownLines) -> Iterator[int]:
    """The numbers of all items, those in code blocks and comments included."""
    return (int(match["number"]) for match in map(_ITEM.fullmatch, lines.texts) if match)


def _keys(issue: DebtIssue) -> tuple[_Key, _Key]:
    return ("area", plain_area(issue.area)), ("description", _core(clean(issue.description)))


def plain_area(area: str) -> str:
    """``area`` without Markdown emphasis or code marks."""
    return clean(area).strip("`* ")


def _core(description: str) -> str:
    return _RETURNED.sub("", description).casefold().rstrip(" .")
