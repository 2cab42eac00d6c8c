"""Looking whether an experiment is locked never disturbs a process that locks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment import is_locked, lock_experiment, try_lock, unlock_experiment

START = """
import sys
from pathlib import Path
from mlrun_assets.experiment import is_locked, lock_experiment
directory = Path(sys.argv[1])
"""
LOOK_IN_A_LOOP = """
print("ready", flush=True)
while not (directory / "done").exists():
    is_locked(directory)
"""
HOLD = """
lock_experiment(directory)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(code: str, directory: Path) -> Iterator[None]:
    """Another process that runs ``code`` on the directory."""
    command = [sys.executable, "-c", START + code, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            (directory / "done").touch()
            running.communicate(timeout=60)
    assert running.returncode == 0


def test_lookers_in_a_loop_never_make_a_hold_fail(tmp_path: Path) -> None:
    lock_experiment(tmp_path)  # the lock file is there from now on
    unlock_experiment(tmp_path)
    with process(LOOK_IN_A_LOOP, tmp_path):
        for _ in range(20):
            lock_experiment(tmp_path)
            unlock_experiment(tmp_path)


def test_an_experiment_that_another_process_holds_is_seen_and_refused(tmp_path: Path) -> None:
    with process(HOLD, tmp_path):
        assert is_locked(tmp_path)
        assert not try_lock(tmp_path)
        with pytest.raises(ExperimentError, match="another process works on this experiment"):
            lock_experiment(tmp_path)
    assert not is_locked(tmp_path)  # looking leaves the lock free
    assert try_lock(tmp_path)
    unlock_experiment(tmp_path)


def test_looking_at_an_experiment_that_nobody_held_writes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_locking_and_unlocking_twice(tmp_path: Path) -> None:
    lock_experiment(tmp_path)
    lock_experiment(tmp_path)
    assert is_locked(tmp_path)
    unlock_experiment(tmp_path)
    unlock_experiment(tmp_path)
    assert not is_locked(tmp_path)
