"""Killed or on a full disk before any of its file operations, a command leaves nothing wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlrun_assets_tests.examples import ROOT


@pytest.mark.slow
def test_a_sample_of_points() -> None:
    """Ten points of each scenario but the whole run, in a process that has no threads to fork."""
    chaos = str(ROOT / "benchmarks" / "chaos.py")
    command = [sys.executable, chaos, "--sample", "40", "--no-history"]
    for scenario in ("opening", "promote", "rollback", "ending"):
        command += ["--scenario", scenario]
    command += ["--fault", "kill", "--fault", "disk full"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    assert "40 points, 0 faults" in ended.stdout
