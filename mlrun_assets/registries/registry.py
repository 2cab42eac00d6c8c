"""The registry of runs, `_registry.md`, and how a Markdown file is shared with people and tools.

Lines that others wrote stay byte for byte, whatever their encoding, line endings and spaces. A
change is made under a lock, and the file is replaced in one step. People take no lock: if they
write during a change, the change is made again on what they wrote.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TypeVar

from mlrun_assets.errors import RecordError
from mlrun_assets.files import locked, read_if_exists, replace_if_unchanged
from mlrun_assets.markdown import plain, prose
from mlrun_assets.records import RegistryRecord, RunLine, Status

T = TypeVar("T")


# Changing a Markdown file that others edit too

_FENCE = re.compile(r"(`{3,}(?!.*`)|~{3,})")
_BYTE_ORDER_MARK = "\ufeff"


class MarkdownLines:
    """The lines of a Markdown file. Unchanged lines keep their bytes.

    A line is its text, with undecodable bytes as surrogates, and its ending, which may be empty.
    """

    def __init__(self, data: bytes) -> None:
        lines = [line.decode("utf-8", "surrogateescape") for line in data.splitlines(keepends=True)]
        self.texts = [line.rstrip("\r\n") for line in lines]
        self._endings = [line[len(text) :] for line, text in zip(lines, self.texts, strict=True)]

    def prose(self) -> Iterator[tuple[int, str]]:
        """Index and text of the lines outside code blocks and comments."""
        index, unclosed = 0, set[str]()
        while index < len(self.texts):
            end = _end_of_literal(self.texts, index, unclosed)
            if end is None:
                yield index, self.texts[index]
            index = index + 1 if end is None else end + 1

    def insert(self, new: Mapping[int, Sequence[str]]) -> None:
        """Insert lines before the lines with the given indices, with the ending of the line above.

        All indices are those before the call; the number of lines means the end.
        """
        default = next(filter(None, self._endings), "\n")
        texts: list[str] = []
        endings: list[str] = []
        start = 0
        for index, added in sorted(new.items()):
            texts += self.texts[start:index]
            endings += self._endings[start:index]
            start = index
            if endings and not endings[-1]:
                endings[-1] = endings[-2] if len(endings) > 1 else default
            texts += added
            endings += [endings[-1] if endings else default] * len(added)
        self.texts = [*texts, *self.texts[start:]]
        self._endings = [*endings, *self._endings[start:]]

    def append(self, text: str) -> None:
        """Add a line at the end."""
        self.insert({len(self.texts): [text]})

    def to_bytes(self) -> bytes:
        pairs = zip(self.texts, self._endings, strict=True)
        return "".join(chain.from_iterable(pairs)).encode("utf-8", "surrogateescape")


def _end_of_literal(texts: list[str], start: int, unclosed: set[str]) -> int | None:
    """The last line of the code block or comment that opens at ``start``; None: none opens.

    One that is never closed counts as text; otherwise all lines below it would be hidden. Its
    opening is added to ``unclosed``, so that the lines below are searched once for all its kind.
    """
    opening = texts[start].removeprefix(_BYTE_ORDER_MARK).strip()
    fence = _FENCE.match(opening)
    kind = fence[1] if fence else opening[:4]
    if kind in unclosed or not (fence or kind == "<!--"):
        return None
    if fence:
        closing = re.compile(rf"\s*{re.escape(kind[0])}{{{len(kind)},}}\s*")
        ends = (at for at in range(start + 1, len(texts)) if closing.fullmatch(texts[at]))
    else:
        ends = (at for at in range(start, len(texts)) if "-->" in texts[at])
    end = next(ends, None)
    if end is None:
        unclosed.add(kind)
    return end


def read_lines(path: Path) -> MarkdownLines:
    """The lines of ``path``; no lines if the file is missing.

    Raises:
        RecordError: it is a directory or can't be read.
    """
    with _explained(path, "read"):
        return MarkdownLines(read_if_exists(path))


def edit(path: Path, heading: str, change: Callable[[MarkdownLines], T]) -> T:
    """Apply ``change`` to the lines of ``path`` under its lock.

    A missing or empty file gets ``heading`` first. Nothing is written if nothing changed. If
    ``path`` is a link, its target is replaced, not the link.

    Args:
        path: the file.
        heading: the first line of a new file.
        change: it is called again if somebody wrote to the file in the meantime.

    Returns:
        What ``change`` returned last.

    Raises:
        RecordError: the file or its directory can't be written; the file is as it was.
        FileBusyError: another process holds its lock.
    """
    target = Path(os.path.realpath(path))
    with _explained(path, "written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            while True:
                before = read_if_exists(target)
                lines = MarkdownLines(before)
                result = change(lines)
                after = lines.to_bytes() if before else f"{heading}\n\n".encode() + lines.to_bytes()
                if after == before or replace_if_unchanged(target, before, after):
                    return result


@contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"{path}: can't be {verb} ({error.strerror or error}); it must be a file in a "
            "directory that you may write to: fix that, or set reports.dir to another directory"
        ) from error


def printable(text: str) -> str:
    """The plain text of Markdown, with replacement characters for bytes that are not UTF-8."""
    return plain(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


# The line of a run

FILE = "_registry.md"
HEADING = "# ML runs"
LONGEST_REPORT_NAME = 200  # bytes; a file name holds 255, and a temporary one is longer than ours
REPORT_NAME = r"impl-ml-run-[^\s|/\\`*\[\]()<>]+-[0-9]{8}(?:-[0-9]+)?"

# People may turn the name into a link or set it in bold.
_RUN_LINE = re.compile(
    rf"(?P<indent>\ufeff?[ \t]*)[-*+][ \t]+[`*_\[]*(?P<report>{REPORT_NAME})(?:\.md)?[`*_\]]*"
    r"(?:\([^()|]*\))?[ \t]*\|(?P<rest>.*)"
)
_MENTION = re.compile(r"\ufeff?[ \t]*[-*+][ \t].*impl-ml-run")


@dataclass(frozen=True)
class RegistryView:
    """All runs in the order of the file, and the number of run lines that can't be parsed."""

    runs: tuple[RunLine, ...]
    unreadable: int


def reserve_report_name(reports_dir: Path, name: str, day: str) -> str:
    """Choose a free report name and reserve it with a ``Running`` line.

    Args:
        reports_dir: where the registry and ``implementation/`` are.
        name: the experiment's name, a slug.
        day: ``YYYYMMDD``.

    Returns:
        ``impl-ml-run-{name}-{day}``, with ``-2``, ``-3``, … if that is taken.

    Raises:
        RecordError: the name would not be a report name, or the registry can't be written.
    """
    first = f"impl-ml-run-{name}-{day}"
    check_report_name(first)

    def take(lines: MarkdownLines) -> str:
        # A hand-edited line reserves its name too. File systems may ignore case.
        mention = re.compile(rf"(?<![\w-]){re.escape(first)}(?:-[0-9]+)?(?![\w-])", re.IGNORECASE)
        mentioned = {name.lower() for text in lines.texts for name in mention.findall(text)}
        options = chain([first], (f"{first}-{number}" for number in count(2)))
        report = next(
            option
            for option in options
            if option.lower() not in mentioned and not report_file(reports_dir, option).exists()
        )
        lines.append(_line(report, Status.RUNNING, "started"))
        return report

    return edit(reports_dir / FILE, HEADING, take)


def write_run_line(reports_dir: Path, report: str, status: Status, summary: str) -> RegistryRecord:
    """Write the line of a run: replace the line with its name, or add one at the end.

    Returns:
        The line, and how many lines the file had before.

    Raises:
        RecordError: ``report`` is no report name, or the registry can't be written.
    """
    check_report_name(report)
    line = _line(report, status, summary)

    def write(lines: MarkdownLines) -> int:
        before = len(lines.texts)
        for index, text in lines.prose():
            own = _RUN_LINE.fullmatch(text)
            if own and own["report"] == report:
                lines.texts[index] = own["indent"] + line
                return before
        lines.append(line)
        return before

    path = reports_dir / FILE
    return RegistryRecord(file=str(path), line=line, lines_before=edit(path, HEADING, write))


def set_deployed(reports_dir: Path, report: str, deployed: bool) -> None:
    """Write in the line of a run whether it is deployed, and change nothing else of the line.

    Raises:
        RecordError: the registry can't be written.
    """
    flag = "deployed" if deployed else "not deployed"

    def write(lines: MarkdownLines) -> None:
        for index, text in lines.prose():
            own = _RUN_LINE.fullmatch(text)
            if own and own["report"] == report:
                status, bar, summary = own["rest"].partition("|")
                known = RunLine.FLAG.search(summary)
                start, end = known.span("flag") if known else (len(summary), len(summary))
                new = flag if known else f", {flag}" if deployed else ""
                before = text[: own.start("rest")] + status + bar
                lines.texts[index] = before + summary[:start] + new + summary[end:]

    edit(reports_dir / FILE, HEADING, write)


def _line(report: str, status: Status, summary: str) -> str:
    return f"- {report} | {status} | {prose(summary.replace('|', '/')) or 'no metrics'}"


def read_registry(reports_dir: Path) -> RegistryView:
    """All runs of the registry; no runs if the file is missing.

    Raises:
        RecordError: the registry is a directory or can't be read.
    """
    path = reports_dir / FILE
    with _explained(path, "read"):
        return _parse(read_if_exists(path))


def mentioned_reports(reports_dir: Path) -> set[str]:
    """All reports that the registry names, also in comments and code blocks.

    Raises:
        RecordError: the registry is a directory or can't be read.
    """
    return set(re.findall(REPORT_NAME, "\n".join(read_lines(reports_dir / FILE).texts)))


@functools.lru_cache(maxsize=1)  # opening a run reads it three times
def _parse(registry: bytes) -> RegistryView:
    runs: list[RunLine] = []
    unreadable = 0
    for _, text in MarkdownLines(registry).prose():
        match = _RUN_LINE.fullmatch(text)
        status, bar, summary = match["rest"].partition("|") if match else ("", "", "")
        if match and bar and status.strip():
            runs.append(RunLine(match["report"], printable(status), printable(summary)))
        elif _MENTION.match(text):
            unreadable += 1
    return RegistryView(tuple(runs), unreadable)


def check_report_name(report: str) -> None:
    """Check that ``report`` is a report name: one file name, on one line.

    Raises:
        RecordError: it is not.
    """
    well_formed = re.fullmatch(REPORT_NAME, report) is not None and report.isprintable()
    if not well_formed or len(report.encode()) > LONGEST_REPORT_NAME:
        raise RecordError(
            f"{report[:300]!r}: no report name; it must read impl-ml-run-EXPERIMENT-YYYYMMDD, with "
            f"no space, slash, bar or bracket and at most {LONGEST_REPORT_NAME} bytes: rename the "
            "experiment"
        )


def report_file(reports_dir: Path, report: str) -> Path:
    """The Markdown file of the report."""
    return reports_dir / "implementation" / f"{report}.md"
