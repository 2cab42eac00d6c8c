"""What is seen of work that takes long: which stage runs, and how far a loop is.

The code that works reports here; who started it has decided, with `shown_by`, where that is shown.
Where nobody has, nothing is shown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from mlrun_assets.markdown import clean

if TYPE_CHECKING:
    from rich.console import RenderableType

# Nothing is said about what is done within two seconds.
FIRST_SECONDS = 2.0
# Where each line stays: not before so many seconds, and then at a tenth of the work or so late.
LEAST_SECONDS, MOST_SECONDS = 10.0, 300.0
NAME_WIDTH = len("deployment_decision")


@dataclass(eq=False)
class Task:
    """Work of ``total`` units; ``total`` is None if it can't be counted."""

    what: str
    total: int | None = None
    unit: str = "rows"
    done: int = 0
    note: str = ""
    before: int = 0  # done by an earlier attempt: it does not count for the rate
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def figures(self) -> str:
        """``1,024/4,000 rows, 120/s, 0:24 left``, or the time if the work can't be counted."""
        if not self.total:
            done = f"{self.done:,} {self.unit}, {self.done / max(self.seconds, 1e-9):,.0f}/s, "
            return f"{done if self.done else ''}{clock(self.seconds)}"
        parts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self.done > self.before and self.seconds > 0:
            rate = (self.done - self.before) / self.seconds
            left = clock((self.total - self.done) / rate)
            parts += [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s", f"{left} left"]
        return ", ".join([*parts, self.note] if self.note else parts)


def clock(seconds: float) -> str:
    """``0:24``, ``12:05`` or ``2:03:59``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class View(Protocol):
    """Where progress is shown."""

    def say(self, stage: str, line: str) -> None:
        """Show a line that stays."""

    def begin(self, stage: str) -> None:
        """A stage begins; an empty name: none runs."""

    def show(self, task: Task) -> None:
        """Show how far a task is."""

    def end(self, task: Task) -> None:
        """A task has ended."""


_views: list[View] = []


@contextmanager
def shown_by(view: View) -> Iterator[None]:
    """Show what is reported within the block with ``view``."""
    _views.append(view)
    try:
        yield
    finally:
        _views.remove(view)


def current_view() -> View | None:
    """The view that shows what is reported now."""
    return _views[-1] if _views else None


@contextmanager
def task(
    what: str, total: int | None = None, unit: str = "rows", done: int = 0
) -> Iterator[Callable[..., None]]:
    """Report work that may take long; the block gets a function that reports an advance.

    Its arguments are the number of units done since the last call, and a note.
    """
    view, current = current_view(), Task(what, total, unit, done, before=done)

    def advance(units: int = 1, note: str = "") -> None:
        current.done += units
        current.note = note
        if view:
            view.show(current)

    if view:
        view.show(current)
    try:
        yield advance
    finally:
        if view:
            view.end(current)


class Lines:
    """Passes lines on, and now and then one about a task: for logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next: dict[int, tuple[float, float]] = {}

    def say(self, stage: str, line: str) -> None:
        self._write(f"{stage}  {line}" if stage else line)

    def begin(self, stage: str) -> None:
        """Nothing: a log has the beginning of a stage."""

    def show(self, task: Task) -> None:
        seconds, share = task.seconds, task.done / task.total if task.total else 0.0
        last, tenth = self._next.get(id(task), (FIRST_SECONDS - LEAST_SECONDS, share))
        due = seconds - last >= (LEAST_SECONDS if share >= tenth else MOST_SECONDS)
        if due and share < 1.0:
            self._next[id(task)] = seconds, share + 0.1
            self._write(f"{task.what}: {task.figures}" if task.total else f"{task.what} …")

    def end(self, task: Task) -> None:
        self._next.pop(id(task), None)


class PlainText(Lines):
    """Lines with the time on standard error, for a command without a terminal."""

    def __init__(self) -> None:
        super().__init__(lambda line: self.say(self._stage, line))
        self._stage = ""

    def say(self, stage: str, line: str) -> None:
        with suppress(OSError):  # nobody reads it any more
            line = f"{time.strftime('%H:%M:%S')}  {stage:<{NAME_WIDTH}}  {line}"
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def begin(self, stage: str) -> None:
        self._stage = stage
        if stage:
            self.say(stage, "started")


class _Screen:
    """A terminal that may be closed at any time; not affected by what is redirected later."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class Terminal:
    """A live line about the stage and one about its task; lines that stay are written above."""

    def __init__(self, stream: TextIO, doing: str = "loading") -> None:
        """``stream`` is a terminal that Dagster does not redirect."""
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("line")
        self._stage, self._since = doing, time.monotonic()
        self._tasks: list[Task] = []
        self._console = Console(file=_Screen(stream), highlight=False)  # type: ignore[arg-type]
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, stage: str, line: str) -> None:
        from rich.table import Table

        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_column(no_wrap=True, width=NAME_WIDTH, style="bold")
        row.add_column(overflow="fold")
        row.add_row(stage, clean(line))
        self._console.print(row)

    def begin(self, stage: str) -> None:
        self._stage, self._since = stage, time.monotonic()

    def show(self, task: Task) -> None:
        if task not in self._tasks:
            self._tasks.append(task)

    def end(self, task: Task) -> None:
        with suppress(ValueError):
            self._tasks.remove(task)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if not self._stage:
            return Text("")
        elapsed = f"{self._stage}  {clock(time.monotonic() - self._since)}"
        self._spinner.update(text=Text(elapsed, no_wrap=True, overflow="ellipsis"))
        lines: list[RenderableType] = [self._spinner]
        for task in self._tasks[-2:]:
            row = Table.grid(expand=True, padding=(0, 1, 0, 0))
            row.add_column(no_wrap=True, overflow="ellipsis")
            row.add_column(ratio=1)
            row.add_column(no_wrap=True, justify="right")
            bar = ProgressBar(task.total, task.done) if task.total else ""
            row.add_row(f"  {task.what}", bar, task.figures)
            lines.append(row)
        return Group(*lines)
