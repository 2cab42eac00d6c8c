from __future__ import annotations

from pathlib import Path

import pytest

from mlrun_assets.trainer.checkpoints import SEAL, is_sound, newest_sound, seal

JOB = "sha256:job"


def checkpoint(parent: Path, step: int) -> Path:
    directory = parent / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"weights" * step)
    (directory / "optimizer.pt").write_bytes(b"moments")
    seal(directory, JOB)
    return directory


def truncate(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"wei")


def remove(directory: Path) -> None:
    (directory / "optimizer.pt").unlink()


def unseal(directory: Path) -> None:
    (directory / SEAL).unlink()


def garble(directory: Path) -> None:
    (directory / SEAL).write_text("{")


def test_the_newest_is_by_number(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    assert newest_sound(tmp_path, JOB) == (newest, ())


@pytest.mark.parametrize("damage", [truncate, remove, unseal, garble])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: object) -> None:
    older = checkpoint(tmp_path, 5)
    newer = checkpoint(tmp_path, 10)
    damage(newer)  # type: ignore[operator]
    assert not is_sound(newer, JOB)
    assert newest_sound(tmp_path, JOB) == (older, ("checkpoint-10",))


def test_one_of_another_job_is_passed_over(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5)
    assert newest_sound(tmp_path, "sha256:other") == (None, ("checkpoint-5",))


def test_none_at_all(tmp_path: Path) -> None:
    assert newest_sound(tmp_path / "absent", JOB) == (None, ())
