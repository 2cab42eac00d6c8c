from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlrun_assets.training.checkpoints import (
    SEAL_FILE,
    STATE_FILE,
    newest_sound,
    remove_others,
    remove_unsound,
    seal,
)

JOB = "sha256:job"


def checkpoint(parent: Path, step: int) -> Path:
    directory = parent / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    (directory / STATE_FILE).write_text(json.dumps({"global_step": step}))
    (directory / "model.safetensors").write_bytes(b"weights" * step)
    (directory / "optimizer.pt").write_bytes(b"moments")
    seal(directory, JOB)
    return directory


def test_the_newest_is_by_number(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    assert newest_sound(tmp_path, JOB) == (newest, ())
    assert newest_sound(tmp_path, "sha256:other") == (None, ("checkpoint-10", "checkpoint-9"))
    assert newest_sound(tmp_path / "absent", JOB) == (None, ())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", STATE_FILE, SEAL_FILE])
@pytest.mark.parametrize("kept", [None, 0, 1, -2])
def test_one_that_is_not_whole_is_passed_over(tmp_path: Path, name: str, kept: int | None) -> None:
    older, newer = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10)
    whole = (newer / name).read_bytes()
    (newer / name).unlink()
    if kept is not None:
        (newer / name).write_bytes(whole[:kept])
    assert newest_sound(tmp_path, JOB) == (older, ("checkpoint-10",))
    remove_unsound(tmp_path, JOB)
    assert list(tmp_path.iterdir()) == [older]


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    checkpoint(tmp_path, 15)
    checkpoint(tmp_path, 90)  # left by an earlier attempt
    newest = checkpoint(tmp_path, 20)
    remove_others(newest)
    assert list(tmp_path.iterdir()) == [newest]
