"""Markdown files that this package shares with people and other tools.

Lines that others wrote stay byte for byte, whatever their encoding, line endings and spaces; a
change happens under a lock, and the file is replaced in one step.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

from mlrun_assets.errors import RecordError
from mlrun_assets.files import locked, write_atomically
from mlrun_assets.records import RegistryRecord, RunLine, Status

LONGEST_REPORT_NAME = 200  # bytes; a file name holds 255, and a temporary one is longer than ours
REPORT_NAME = r"impl-ml-run-[^\s|/\\`*\[\]()<>]+-[0-9]{8}(?:-[0-9]+)?"

_FENCE = re.compile(r"(`{3,}(?!.*`)|~{3,})")
_BYTE_ORDER_MARK = "\ufeff"

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One line: its text, undecodable bytes as surrogates, and its ending (none: the last)."""

    text: str
    ending: str


class MarkdownLines:
    """The lines of a Markdown file; what is not changed comes out as it came in."""

    def __init__(self, data: bytes) -> None:
        self._lines = [_split_ending(line) for line in data.splitlines(keepends=True)]

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self._lines]

    def prose(self) -> Iterator[tuple[int, str]]:
        """Index and text of the lines that are in no code block and no comment."""
        texts, index = self.texts, 0
        while index < len(texts):
            end = _end_of_literal(texts, index)
            if end is None:
                yield index, texts[index]
            index = index + 1 if end is None else end + 1

    def replace(self, index: int, text: str) -> None:
        """Give line ``index`` another text; its ending stays."""
        self._lines[index] = Line(text, self._lines[index].ending)

    def insert(self, index: int, text: str) -> None:
        """Put a line before line ``index``, with the ending that the file uses there."""
        ending = self._ending_before(index)
        if index and not self._lines[index - 1].ending:
            self._lines[index - 1] = Line(self._lines[index - 1].text, ending)
        self._lines.insert(index, Line(text, ending))

    def append(self, text: str) -> None:
        """Put a line at the end."""
        self.insert(len(self), text)

    def to_bytes(self) -> bytes:
        content = "".join(line.text + line.ending for line in self._lines)
        return content.encode("utf-8", "surrogateescape")

    def _ending_before(self, index: int) -> str:
        before = (line.ending for line in reversed(self._lines[:index]) if line.ending)
        return next(before, None) or next((line.ending for line in self._lines), None) or "\n"


def read_lines(path: Path) -> MarkdownLines:
    """The lines of ``path``; none if there is no such file.

    Raises:
        RecordError: it is a directory or can't be read.
    """
    with _explained(path, "read"):
        return MarkdownLines(_read(path))


def edit(path: Path, heading: str, change: Callable[[MarkdownLines], T]) -> T:
    """Apply ``change`` to the lines of ``path`` while no other process can.

    A missing or empty file is created with ``heading`` on top. Nothing is written if nothing
    changed. A link is followed: its target is replaced, not the link.

    Returns:
        What ``change`` returned.

    Raises:
        RecordError: the file or its directory can't be written; the file is as it was.
        FileBusyError: another process holds its lock.
    """
    target = Path(os.path.realpath(path))
    with _explained(path, "written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            before = _read(target)
            lines = MarkdownLines(before)
            result = change(lines)
            after = lines.to_bytes() if before else f"{heading}\n\n".encode() + lines.to_bytes()
            if after != before:
                write_atomically(target, after)
    return result


def check_report_name(report: str) -> None:
    """Make sure that ``report`` names one file of a directory and stays on one line.

    Raises:
        RecordError: it does not.
    """
    well_formed = re.fullmatch(REPORT_NAME, report) is not None and report.isprintable()
    if not well_formed or len(report.encode()) > LONGEST_REPORT_NAME:
        raise RecordError(
            f"{report[:300]!r}: no report name; it must read impl-ml-run-EXPERIMENT-YYYYMMDD, with "
            f"no space, slash, bar or bracket and at most {LONGEST_REPORT_NAME} bytes: rename the "
            "experiment"
        )


def one_line(text: str) -> str:
    """``text`` on one line, without characters that end a line or a comment."""
    plain = "".join(" " if unicodedata.category(char) in {"Cc", "Cs"} else char for char in text)
    return re.sub(r"-{2,}>", "->", " ".join(plain.split()))


def printable(text: str) -> str:
    """``text`` from a file with what is not UTF-8 as replacement characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()


def _split_ending(line: bytes) -> Line:
    text = line.rstrip(b"\r\n")
    ending = line[len(text) :].decode("ascii")
    return Line(text.decode("utf-8", "surrogateescape"), ending)


def _end_of_literal(texts: list[str], start: int) -> int | None:
    """The last line of the code block or comment that opens at ``start``; None: none does.

    One that is never closed is taken for text: else all lines below it, ours too, would be lost.
    """
    opening = texts[start].removeprefix(_BYTE_ORDER_MARK).strip()
    if opening.startswith("<!--"):
        ends = (index for index in range(start, len(texts)) if "-->" in texts[index])
        return next(ends, None)
    fence = _FENCE.match(opening)
    if not fence:
        return None
    closing = re.compile(rf"\s*{re.escape(fence[1][0])}{{{len(fence[1])},}}\s*")
    ends = (index for index in range(start + 1, len(texts)) if closing.fullmatch(texts[index]))
    return next(ends, None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"{path}: can't be {verb} ({error.strerror or error}); it must be a file in a "
            "directory that you may write to: mend that, or set reports.dir to another directory"
        ) from error


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
