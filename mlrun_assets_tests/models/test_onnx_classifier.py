"""Threads of the reader that is copied into every model."""

from __future__ import annotations

import os

import pytest

from mlrun_assets.models.served import onnx_classifier as classifier


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_a_system_without_affinity_uses_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert classifier._threads() == 8


def test_threads_keep_to_the_affinity_and_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert classifier._threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert classifier._threads() == 2
