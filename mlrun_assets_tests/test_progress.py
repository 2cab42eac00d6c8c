"""What is seen of work that takes long: in a log, in lines, on a terminal."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator

import pytest

from mlrun_assets import progress
from mlrun_assets.progress import Lines, PlainText, Task, Terminal, clock, shown_by, task


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that stands still; its first item is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_clock() -> None:
    assert [clock(each) for each in (0.4, 24, 725, 7439)] == ["0:00", "0:24", "12:05", "2:03:59"]


def test_figures_have_rate_and_time_left_of_this_attempt(wait: list[float]) -> None:
    work = Task("training", 100, "steps", done=50, before=50)
    assert work.figures == "50/100 steps"
    wait[0] += 10
    work.done, work.note = 70, "loss 0.5"
    assert work.figures == "70/100 steps, 2/s, 0:15 left, loss 0.5"
    unknown = Task("labelling")
    wait[0] += 2
    assert unknown.figures == "0:02"
    unknown.done = 1200
    assert unknown.figures == "1,200 rows, 600/s, 0:02"


def test_a_log_gets_few_lines_and_none_of_what_is_quick(wait: list[float]) -> None:
    lines: list[str] = []
    with shown_by(Lines(lines.append)):
        with task("quick", 10) as advance:
            advance(10)
        with task("reading texts", 100, "texts") as advance:
            for _ in range(100):
                wait[0] += 1
                advance()
        with task("probing"):
            wait[0] += 3
    assert lines[0] == "reading texts: 2/100 texts, 1/s, 1:38 left"
    assert 8 <= len(lines) <= 10
    assert all(line.startswith("reading texts: ") for line in lines)


def test_without_a_view_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with task("reading texts", 3) as advance:
        advance()
    assert progress.current_view() is None
    assert capsys.readouterr() == ("", "")


def test_plain_lines_have_the_time_and_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainText()
    view.begin("training_plan")
    view.say("training_plan", "candidates frozen, 0.1 s")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  training_plan        started", first)
    assert second.endswith("training_plan        candidates frozen, 0.1 s")


class Screen(io.StringIO):
    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_every_line_fits(
    monkeypatch: pytest.MonkeyPatch, wait: list[float], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    with Terminal(screen) as view, shown_by(view):
        view.begin("evaluation_metrics")
        with task("reading texts", 40_000, "tokens") as advance:
            wait[0] += 10
            advance(12_345)
            view._live.refresh()
        view.say("evaluation_metrics", "test macro-F1 0.831, " + "word " * 20)
    shown = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    assert "reading texts" in shown and "12,345/40,000 tokens, 1,234/s, 0:22 left" in shown
    assert "evaluation_metrics   test macro-F1 0.831, word" in shown
    assert max(map(len, shown.splitlines())) <= columns


def test_a_closed_terminal_is_no_error() -> None:
    class Closed(Screen):
        def write(self, text: str) -> int:
            raise OSError("Input/output error")

    with Terminal(Closed()) as view, shown_by(view):
        view.say("experiment", "nobody sees it")
