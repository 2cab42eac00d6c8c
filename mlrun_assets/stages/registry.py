"""The registry of runs, ``_registry.md``: one line a run, among the lines of others.

- impl-ml-run-[experiment]-YYYYMMDD | Complete | [metrics summary]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from mlrun_assets.records import RegistryRecord, RunLine, Status
from mlrun_assets.registry_file import (
    REPORT_NAME,
    MarkdownLines,
    check_report_name,
    edit,
    one_line,
    printable,
    read_lines,
)

FILE = "_registry.md"
HEADING = "# ML runs"

# People make the name a link, or set it in bold: it is still the name.
_RUN_LINE = re.compile(
    rf"(?P<indent>\ufeff?[ \t]*)[-*+][ \t]+[`*_\[]*(?P<report>{REPORT_NAME})(?:\.md)?[`*_\]]*"
    r"(?:\([^()|]*\))?[ \t]*\|(?P<rest>.*)"
)
_MENTION = re.compile(r"\ufeff?[ \t]*[-*+][ \t].*impl-ml-run")


@dataclass(frozen=True)
class RegistryView:
    """All runs in the order of the file, and the items about runs that can't be parsed."""

    runs: tuple[RunLine, ...]
    unreadable: int


def reserve_report_name(reports_dir: Path, name: str, day: str) -> str:
    """Take a report name that no other run has, with a ``Running`` line that holds it.

    Args:
        reports_dir: where the registry and ``implementation/`` are.
        name: the experiment's name, a slug.
        day: ``YYYYMMDD``.

    Returns:
        ``impl-ml-run-{name}-{day}``, or with ``-2``, ``-3``, … if that is taken.

    Raises:
        RecordError: the name can't be one of a report, or the registry can't be written.
    """
    first = f"impl-ml-run-{name}-{day}"
    check_report_name(first)

    def take(lines: MarkdownLines) -> str:
        candidates = chain([first], (f"{first}-{number}" for number in count(2)))
        report = next(each for each in candidates if _is_free(each, lines, reports_dir))
        lines.append(_line(report, Status.RUNNING, "started"))
        return report

    return edit(reports_dir / FILE, HEADING, take)


def write_run_line(reports_dir: Path, report: str, status: Status, summary: str) -> RegistryRecord:
    """Write this run's line, in place of the one with its name or else at the end.

    Returns:
        The line, and how many lines the file had before.

    Raises:
        RecordError: the name can't be one of a report, or the registry can't be written.
    """
    check_report_name(report)
    line = _line(report, status, summary)

    def write(lines: MarkdownLines) -> int:
        before = len(lines)
        for index, text in lines.prose():
            own = _RUN_LINE.fullmatch(text)
            if own and own["report"] == report:
                lines.replace(index, own["indent"] + line)
                return before
        lines.append(line)
        return before

    path = reports_dir / FILE
    return RegistryRecord(file=str(path), line=line, lines_before=edit(path, HEADING, write))


def read_registry(reports_dir: Path) -> RegistryView:
    """The runs on record; none if there is no registry yet.

    Raises:
        RecordError: the registry is a directory or can't be read.
    """
    runs: list[RunLine] = []
    unreadable = 0
    for _, text in read_lines(reports_dir / FILE).prose():
        run = _parse(text)
        if run:
            runs.append(run)
        elif _MENTION.match(text):
            unreadable += 1
    return RegistryView(tuple(runs), unreadable)


def _line(report: str, status: Status, summary: str) -> str:
    return f"- {report} | {status} | {one_line(summary.replace('|', '/')) or 'no metrics'}"


def report_file(reports_dir: Path, report: str) -> Path:
    """Where the report of that name is, as Markdown."""
    return reports_dir / "implementation" / f"{report}.md"


def _parse(text: str) -> RunLine | None:
    match = _RUN_LINE.fullmatch(text)
    if not match:
        return None
    status, bar, summary = match["rest"].partition("|")
    if not bar or not status.strip():
        return None
    return RunLine(match["report"], printable(status), printable(summary))


def _is_free(report: str, lines: MarkdownLines, reports_dir: Path) -> bool:
    if report_file(reports_dir, report).exists():
        return False
    # In any form: a hand-edited line holds its name too. File systems may ignore the case.
    mention = re.compile(rf"(?<![\w-]){re.escape(report)}(?![\w-])", re.IGNORECASE)
    return not any(mention.search(text) for text in lines.texts)
