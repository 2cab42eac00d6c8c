from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrun_assets.training.checkpoints import (
    SEAL_FILE,
    STATE_FILE,
    is_sound,
    newest_sound,
    remove_others,
    remove_unsound,
    seal,
)

JOB = "sha256:job"


def checkpoint(parent: Path, step: int, best: int | None = None) -> Path:
    directory = parent / f"checkpoint-{step}"
    directory.mkdir(parents=True)
    (directory / STATE_FILE).write_text(json.dumps({"global_step": step, "best_global_step": best}))
    (directory / "model.safetensors").write_bytes(b"weights" * step)
    (directory / "optimizer.pt").write_bytes(b"moments")
    seal(directory, JOB)
    return directory


def truncate(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"wei")


def remove(directory: Path) -> None:
    (directory / "optimizer.pt").unlink()


def unseal(directory: Path) -> None:
    (directory / SEAL_FILE).unlink()


def garble(directory: Path) -> None:
    (directory / SEAL_FILE).write_text("{")


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


FILES = ("model.safetensors", "optimizer.pt", STATE_FILE, SEAL_FILE)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.sampled_from(FILES), share=st.floats(0.0, 1.0, exclude_max=True))
def test_whatever_is_cut_off_wherever_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    directory = tmp_path_factory.mktemp("checkpoints")
    older, newer = checkpoint(directory, 5), checkpoint(directory, 10)
    whole = (newer / name).read_bytes()
    kept = int(len(whole) * share)
    (newer / name).write_bytes(whole[:kept])
    # The newline at a seal's end is the one byte that says nothing.
    expected = newer if (name, kept) == (SEAL_FILE, len(whole) - 1) else older
    assert newest_sound(directory, JOB)[0] == expected


def test_one_whose_best_epoch_is_broken_is_passed_over(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, 5, best=5)
    best, newest = checkpoint(tmp_path, 10, best=10), checkpoint(tmp_path, 15, best=10)
    assert newest_sound(tmp_path, JOB) == (newest, ())
    truncate(best)
    assert newest_sound(tmp_path, JOB) == (first, ("checkpoint-15", "checkpoint-10"))


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    best = checkpoint(tmp_path, 10, best=10)
    checkpoint(tmp_path, 15, best=10)
    left_by_an_earlier_attempt = checkpoint(tmp_path, 90)
    newest = checkpoint(tmp_path, 20, best=10)
    remove_others(newest)
    assert sorted(tmp_path.iterdir()) == [best, newest]
    assert not left_by_an_earlier_attempt.exists()


def test_what_is_not_whole_can_be_removed(tmp_path: Path) -> None:
    sound = checkpoint(tmp_path, 5)
    unseal(checkpoint(tmp_path, 10))
    remove_unsound(tmp_path, JOB)
    assert list(tmp_path.iterdir()) == [sound]
