"""Whole runs whose training other processes do, stopped in every way."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mlrun_assets.training import processes
from mlrun_assets_tests import forks
from mlrun_assets_tests.examples import MakeProject, probe_here

pytestmark = pytest.mark.slow
RUN = ("mlrun_assets.cli", "run", "other-processes")
STOP_SECONDS = 60
"""Enough on a busy machine, and far less than the training would go on for."""
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install -e '.[ray]'",
)


def test_a_person_waits_for_less_than_ten_seconds_after_ctrl_c() -> None:
    assert processes.TORCHRUN_STOP_SECONDS < processes.STOP_SECONDS < 10


def registry(home: Path) -> str:
    return (home / ".claude/reports/_registry.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", ["torchrun", pytest.param("ray", marks=needs_ray)])
def test_a_run_shows_the_progress_of_other_processes(
    make_project: MakeProject, backend: str
) -> None:
    home = make_project(training={"backend": backend, "num_workers": 2}).parent
    ran = forks.run(*RUN, cwd=home, output=home / "printed", before=probe_here)
    assert ran.returncode == 0, ran.stderr
    assert "training: epoch 2, val macro-F1" in ran.stderr
    assert "Warning" not in ran.stderr
    assert "| Complete | accuracy" in registry(home)


@pytest.mark.parametrize(
    ("backend", "send", "number"),
    [
        ("torchrun", os.kill, signal.SIGINT),
        ("torchrun", os.killpg, signal.SIGINT),  # what Ctrl-C in a terminal does
        ("torchrun", os.kill, signal.SIGKILL),
        pytest.param("ray", os.kill, signal.SIGINT, marks=needs_ray),
        pytest.param("ray", os.kill, signal.SIGKILL, marks=needs_ray),
    ],
)
def test_no_process_outlives_the_run(
    make_project: MakeProject, backend: str, send: Callable[[int, int], None], number: int
) -> None:
    lasting = {"epochs": 4000}
    home = make_project(training={"backend": backend, "num_workers": 2, **lasting}).parent
    process = forks.start(*RUN, cwd=home, output=home / "printed")
    assert process.pid
    shown = home / "printed.err"
    while not (shown.exists() and "epoch 2," in shown.read_text()):
        assert process.is_alive(), shown.read_text()
        time.sleep(0.1)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 3
    send(process.pid, number)
    _, left = psutil.wait_procs(below, timeout=STOP_SECONDS)
    assert not left
    ended = forks.ended(process, home / "printed")
    if number == signal.SIGKILL:
        assert ended.returncode == -signal.SIGKILL
        return
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert re.search(r"\| Cancelled \| ", registry(home))
    assert list((home / "experiments").glob("exp_*/checkpoints/checkpoint-*"))
