"""Checkpoints that say themselves whether they are whole.

A checkpoint is sealed after its last byte: a list of its files with their digests. One that was cut
off by a kill, a full disk or a power cut has no seal, or one that does not fit.
"""

from __future__ import annotations

import json
from pathlib import Path

from mlrun_assets.files import digest_file, write_atomically

SEAL = "seal.json"


def seal(checkpoint: Path, job: str) -> None:
    """Write the seal of a checkpoint that is complete; ``job`` is the digest of what is trained."""
    digests = {
        file.name: digest_file(file)
        for file in sorted(checkpoint.iterdir())
        if file.is_file() and file.name != SEAL
    }
    write_atomically(checkpoint / SEAL, json.dumps({"job": job, "files": digests}, indent=2) + "\n")


def is_sound(checkpoint: Path, job: str) -> bool:
    """Whether it is of this job and every file that the seal lists is there, as it was sealed."""
    try:
        sealed = json.loads((checkpoint / SEAL).read_bytes())
        digests = sealed["files"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
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
    """The newest sound checkpoint of a job, and the names of newer ones passed over."""
    passed_over: list[str] = []
    for checkpoint in sorted(directory.glob("checkpoint-*"), key=step_of, reverse=True):
        if is_sound(checkpoint, job):
            return checkpoint, tuple(passed_over)
        passed_over.append(checkpoint.name)
    return None, tuple(passed_over)


def step_of(checkpoint: Path) -> int:
    """The training step at which a checkpoint was written."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
