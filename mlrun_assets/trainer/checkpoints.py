"""Checkpoints that say themselves whether they are whole.

A checkpoint is sealed after its last byte has reached the disk: a list of its files with their
digests. One that was cut off by a kill, a full disk or a power cut has no seal, or one that does
not fit. The checkpoints before it are removed only then.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from mlrun_assets.files import digest_file, write_atomically

SEAL = "seal.json"
STATE = "trainer_state.json"


def seal(checkpoint: Path, job: str) -> None:
    """Write the seal of a checkpoint that is complete; ``job`` is the digest of what is trained."""
    digests = {}
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and file.name != SEAL:
            _flush(file)
            digests[file.name] = digest_file(file)
    write_atomically(checkpoint / SEAL, json.dumps({"job": job, "files": digests}, indent=2) + "\n")


def is_sound(checkpoint: Path, job: str) -> bool:
    """Whether it is of this job and every file that the seal lists is there, as it was sealed."""
    try:
        sealed = json.loads((checkpoint / SEAL).read_bytes())
        digests = dict(sealed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (
        sealed.get("job") == job
        and bool(digests)
        and all(
            (checkpoint / name).is_file() and digest_file(checkpoint / name) == digest
            for name, digest in digests.items()
        )
    )


def newest_sound(directory: Path, job: str) -> tuple[Path | None, tuple[str, ...]]:
    """The newest checkpoint of a job that training can go on from, and the names of newer ones.

    It is sound itself, and so is the one that it names as the best so far: the model that is kept
    in the end may be that one.
    """
    passed_over: list[str] = []
    for checkpoint in _newest_first(directory):
        if is_sound(checkpoint, job):
            best = best_of(checkpoint)
            if best == checkpoint or is_sound(best, job):
                return checkpoint, tuple(passed_over)
        passed_over.append(checkpoint.name)
    return None, tuple(passed_over)


def best_of(checkpoint: Path) -> Path:
    """The checkpoint with the best val score when ``checkpoint`` was written; it, if none is."""
    step = read_state(checkpoint).get("best_global_step")
    return checkpoint.with_name(f"checkpoint-{step}") if step else checkpoint


def is_last(checkpoint: Path) -> bool:
    """Whether training had come to its end there: nothing is left but to keep the best epoch."""
    control = read_state(checkpoint)["stateful_callbacks"]["TrainerControl"]
    return bool(control["args"]["should_training_stop"])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The Trainer's own notes in a sound checkpoint: its step, its log, its best score."""
    return dict(json.loads((checkpoint / STATE).read_bytes()))


def remove_others(newest: Path) -> None:
    """Remove all checkpoints but the ``newest``, which is sound, and the best that it names."""
    kept = (newest, best_of(newest))
    for checkpoint in _newest_first(newest.parent):
        if checkpoint not in kept:
            shutil.rmtree(checkpoint)


def remove_unsound(directory: Path, job: str) -> None:
    """Remove what can't be continued from, and only takes room."""
    for checkpoint in _newest_first(directory):
        if not is_sound(checkpoint, job):
            shutil.rmtree(checkpoint)


def step_of(checkpoint: Path) -> int:
    """The training step at which a checkpoint was written."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoint-*"), key=step_of, reverse=True)


def _flush(file: Path) -> None:
    """A seal must not outlive a power cut that the bytes it vouches for do not."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
