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
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlrun_assets.errors import RecordError, count
from mlrun_assets.records import DebtChange, DebtItem, TechDebtRecord
from mlrun_assets.registries.registry import (
    MarkdownLines,
    check_report_name,
    edit,
    one_line,
    printable,
    read_lines,
)

FILE = "_tech-debt.md"
HEADING = "# Tech debt"

Impact = Literal["High", "Medium", "Low"]


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
        found = [_record_found(lines, f"{report}.md", issue) for issue in issues]
        gone = [
            item
            for item in find_items(lines)
            if item.ours
            and any(item.is_within(area) for area in examined)
            and not any(item.is_about(issue) for issue in issues)
        ]
        return (*found, *_record_gone(lines, f"{report}.md", gone))

    return TechDebtRecord(file=str(path), changes=edit(path, HEADING, record))


def _check_areas(issues: Sequence[DebtIssue], path: Path) -> None:
    for area, times in Counter(plain_area(issue.area) for issue in issues).items():
        if not area or times > 1:
            raise RecordError(
                f"{path}: {count(times, 'issue')} of this run with the area {area!r}; give every "
                "issue its own area, such as data/class_balance/LABEL"
            )


def _record_found(lines: MarkdownLines, source: str, issue: DebtIssue) -> DebtChange:
    known = [item for item in find_items(lines) if item.ours and item.is_about(issue)]
    still_open = [item for item in known if not item.done]
    if not still_open:
        return _add(lines, source, issue, known)
    item = still_open[-1]
    new = source in item.value("source")
    if not new:
        set_field(lines, item.index, "Last seen", source)
    if issue.detail:
        set_field(lines, item.index, "Detail", one_line(issue.detail))
    if not item.area:
        set_field(lines, item.index, "Area", plain_area(issue.area))
    return _change(item, "new" if new else "repeated")


def _add(lines: MarkdownLines, source: str, issue: DebtIssue, ticked: list[Item]) -> DebtChange:
    taken = (int(number) for text in lines.texts for number in _NUMBER.findall(text))
    number = max(taken, default=0) + 1  # people may mention a number anywhere in the file
    description = one_line(issue.description)
    if ticked:
        description += f" (returned, was TD-{max(item.number for item in ticked):03d})"
    lines.append(f"- [ ] **TD-{number:03d}**: {description}")
    lines.append(f"  - **Impact:** {issue.impact}")
    lines.append(f"  - **Source:** {source}")
    lines.append(f"  - **Area:** {plain_area(issue.area)}")
    if issue.detail:
        lines.append(f"  - **Detail:** {one_line(issue.detail)}")
    return DebtChange(number=number, description=description, impact=issue.impact, change="new")


def _record_gone(lines: MarkdownLines, source: str, gone: list[Item]) -> list[DebtChange]:
    changes = []
    for item in reversed(gone):  # from the bottom, so that the indices above stay valid
        if not item.done:
            lines.texts[item.index] = item.ticked
            set_field(lines, item.index, "Resolved", source)
        if not item.done or item.value("resolved") == source:
            changes.append(_change(item, "resolved"))
    return changes[::-1]


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

    @property
    def area(self) -> str:
        return plain_area(self.value("area"))

    def is_about(self, issue: DebtIssue) -> bool:
        """Whether the area, or without an area the description, is that of the issue."""
        if self.area:
            return self.area == plain_area(issue.area)
        return _core(self.description) == _core(one_line(issue.description))

    def is_within(self, area: str) -> bool:
        """Whether the item's area is ``area`` or below it; False without an area."""
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


def _fields(below: list[tuple[int, str]], indent: str) -> dict[str, Field]:
    """The fields among the lines indented more than the item; of equal names the first."""
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


def set_field(lines: MarkdownLines, index: int, name: str, value: str) -> None:
    """Set a field of the item at ``index``; a new field goes below its last one."""
    item = next(item for item in find_items(lines) if item.index == index)
    last = max(item.fields.values(), key=lambda field: field.index)
    field = item.fields.get(name.lower())
    if field is None:
        lines.insert(last.index + 1, f"{last.bullet}**{name}:** {value}")
    elif field.value != value:
        lines.texts[field.index] = f"{field.bullet}**{name}:** {value}"


def plain_area(area: str) -> str:
    """``area`` without Markdown emphasis or code marks."""
    return one_line(area).strip("`* ")


def _core(description: str) -> str:
    return _RETURNED.sub("", description).casefold().rstrip(" .")
