"""Whole runs whose training other processes do, stopped in every way."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlrun_assets.training import processes
from mlrun_assets_tests.examples import MakeProject

pytestmark = pytest.mark.slow
RUN = [sys.executable, "-m", "mlrun_assets.cli", "run", "other-processes"]
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
    ran = subprocess.run(RUN, cwd=home, capture_output=True, text=True, timeout=1200, check=False)
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
    lasting = {"epochs": 4000, "early_stopping_patience": 0}
    home = make_project(training={"backend": backend, "num_workers": 2, **lasting}).parent
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(RUN, cwd=home, text=True, start_new_session=True, **pipes) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 2," in line:
                break
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 3
        send(process.pid, number)
        _, left = psutil.wait_procs(below, timeout=STOP_SECONDS)
        assert not left
        _, errors = process.communicate(timeout=300)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        return
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert re.search(r"\| Cancelled \| ", registry(home))
    assert list((home / "experiments").glob("exp_*/checkpoints/checkpoint-*"))
