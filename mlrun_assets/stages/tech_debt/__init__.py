"""The registry of tech debt, ``_tech-debt.md``: one item an issue, among the items of others.

    - [ ] **TD-NNN**: [Issue description]
      - **Impact:** [Priority]
      - **Source:** impl-ml-run-[experiment]-YYYYMMDD.md
      - **Area:** [stage/check, by which a later run knows the issue again]

Further lines follow where there is something to say: ``Detail`` (this run's figures), ``Last
seen``, ``Resolved``. People may reword the description, change the impact and add lines of their
own: the area is what identifies an item of ours, and an item without a run as its source is theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlrun_assets.errors import RecordError
from mlrun_assets.records import DebtChange, DebtItem, TechDebtRecord
from mlrun_assets.registry_file import (
    MarkdownLines,
    check_report_name,
    edit,
    one_line,
    printable,
    read_lines,
)
from mlrun_assets.stages.tech_debt.items import (
    Item,
    find_items,
    next_number,
    plain_area,
    set_field,
)

FILE = "_tech-debt.md"
HEADING = "# Tech debt"

Impact = Literal["High", "Medium", "Low"]


@dataclass(frozen=True)
class DebtIssue:
    """An issue that a run found.

    Attributes:
        area: what it is about, as ``data/class_balance``; the same in every run, one issue each.
        description: a sentence without figures.
        impact: what blocked and a failed threshold are High, a warning Medium, advice Low.
        detail: the figures of this run; empty: none.
    """

    area: str
    description: str
    impact: Impact
    detail: str = ""


def record_debt(
    reports_dir: Path, report: str, issues: Sequence[DebtIssue], examined: Collection[str]
) -> TechDebtRecord:
    """Bring the registry up to what this run found.

    An issue that is not open yet becomes a new item, one that is open is seen again, and an open
    item of ours whose area was examined without finding it again is ticked. A ticked issue that
    returns is a new item that names the old one. The same call twice changes nothing more.

    Args:
        reports_dir: where the registry is.
        report: the name of this run's report, without ``.md``.
        issues: what this run found, one an area.
        examined: the areas that this run looked at: ``data`` stands for all below ``data/``.

    Raises:
        RecordError: an area is empty or two issues share it, the report's name can't be one, or the
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
            and any(item.lies_in(area) for area in examined)
            and not any(item.is_about(issue.area, issue.description) for issue in issues)
        ]
        return (*found, *_record_gone(lines, f"{report}.md", gone))

    return TechDebtRecord(file=str(path), changes=edit(path, HEADING, record))


def read_open_debt(reports_dir: Path) -> tuple[DebtItem, ...]:
    """All items that nobody has ticked, people's too; none if there is no registry yet.

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


def _check_areas(issues: Sequence[DebtIssue], path: Path) -> None:
    areas = Counter(plain_area(issue.area) for issue in issues)
    for area, times in areas.items():
        if not area or times > 1:
            raise RecordError(
                f"{path}: {times} issue(s) of this run with the area {area!r}; give each an area "
                "of its own, such as data/class_balance/LABEL"
            )


def _record_found(lines: MarkdownLines, source: str, issue: DebtIssue) -> DebtChange:
    known = [
        item
        for item in find_items(lines)
        if item.ours and item.is_about(issue.area, issue.description)
    ]
    still_open = [item for item in known if not item.done]
    if not still_open:
        return _add(lines, source, issue, known)
    item = still_open[-1]
    written_by_us = source in item.value("source")
    if not written_by_us:
        set_field(lines, item.index, "Last seen", source)
    if issue.detail:
        set_field(lines, item.index, "Detail", one_line(issue.detail))
    if not item.area:
        set_field(lines, item.index, "Area", plain_area(issue.area))
    return _change(item, "new" if written_by_us else "repeated")


def _add(lines: MarkdownLines, source: str, issue: DebtIssue, ticked: list[Item]) -> DebtChange:
    number = next_number(lines)
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
    for item in reversed(gone):  # from below, so that the items above keep their places
        if not item.done:
            lines.replace(item.index, item.ticked)
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
