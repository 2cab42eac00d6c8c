"""What is recorded of the machine and of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrun_assets.runs.opening import observe_environment


def test_the_environment_tells_what_scores_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    seen = observe_environment(tmp_path)
    assert seen.thread_limits["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in seen.thread_limits
    assert seen.packages["torch"] != "not installed"
    if Path("/proc/cpuinfo").exists():
        assert seen.cpu_model is None or seen.cpu_model in Path("/proc/cpuinfo").read_text()
