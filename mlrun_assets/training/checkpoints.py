"""Sealed checkpoints: written whole, found again, and removed; the time that led to them."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl

from mlrun_assets.files import digest_file, write_atomically

SECONDS_BETWEEN_CHECKPOINTS = 600.0
# The seal is ours; the names of the state and of `checkpoint-STEP` are the Trainer's.
SEAL_FILE = "seal.json"
STATE_FILE = "trainer_state.json"
TIME_FILE = "training_time.json"


class SealedCheckpoints(TrainerCallback):
    """Seals a checkpoint once it is complete, then removes all others.

    A thread does this during the next steps, because it waits for the disk. It ends before the next
    checkpoint is written, so at most one is not sealed. Call `close` at the end.

    In a long epoch checkpoints are also written within the epoch, ten minutes after the last one.
    With several processes they are not: the clocks of the processes would have to agree.
    """

    def __init__(self, job_digest: str, time_taken: TrainingTime) -> None:
        self._job_digest, self._time_taken = job_digest, time_taken
        self._last = time.monotonic()
        self._thread = ThreadPoolExecutor(1)
        self._sealing: Future[None] | None = None

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        within_epoch = (state.epoch or 0.0) % 1 > 0
        due = time.monotonic() - self._last >= SECONDS_BETWEEN_CHECKPOINTS
        if within_epoch and due and args.world_size == 1:
            self._wait()
            # A checkpoint lacks the loss since the last log entry, so the loss is logged first.
            control.should_log = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self._wait()
        control.should_log = True

    def on_save(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        # The other processes write their random state into the checkpoint.
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            self._time_taken.save_in(checkpoint)
            self._sealing = self._thread.submit(self._seal, checkpoint)
        self._last = time.monotonic()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._wait()

    def close(self) -> None:
        """Wait until the last checkpoint is sealed.

        Raises:
            OSError: it can't be, as in the hooks.
        """
        with self._thread:
            self._wait()

    def _seal(self, checkpoint: Path) -> None:
        seal(checkpoint, self._job_digest)
        remove_others(checkpoint)

    def _wait(self) -> None:
        sealing, self._sealing = self._sealing, None
        if sealing:
            sealing.result()


class TrainingTime:
    """The seconds of this attempt, and those that led to the checkpoint that it continues from.

    The time after the last checkpoint of an attempt does not count, as its work is lost. So the
    tokens of a training divided by its seconds are its throughput.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.earlier = 0.0

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self._started

    def continue_from(self, checkpoint: Path) -> None:
        self.earlier = float(json.loads((checkpoint / TIME_FILE).read_bytes())["seconds"])

    def save_in(self, checkpoint: Path) -> None:
        """Write the seconds so far; call it before the checkpoint is sealed."""
        write_atomically(checkpoint / TIME_FILE, json.dumps({"seconds": self.seconds}) + "\n")


# Seals


def seal(checkpoint: Path, job_digest: str) -> None:
    """Record the digests of a complete checkpoint's files, and of the job that it belongs to."""
    digests = {}
    for file in sorted(checkpoint.iterdir()):
        if file.is_file() and file.name != SEAL_FILE:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())  # a power cut must not leave the seal without the file
            digests[file.name] = digest_file(file)
    content = json.dumps({"job": job_digest, "files": digests}, indent=2)
    write_atomically(checkpoint / SEAL_FILE, f"{content}\n")


def is_sound(checkpoint: Path, job_digest: str) -> bool:
    """True if the checkpoint belongs to the job and all its files are as they were sealed."""
    try:
        sealed = json.loads((checkpoint / SEAL_FILE).read_bytes())
        digests = dict(sealed["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return (
        sealed.get("job") == job_digest
        and bool(digests)
        and all(
            (checkpoint / name).is_file() and digest_file(checkpoint / name) == digest
            for name, digest in digests.items()
        )
    )


def newest_sound(directory: Path, job_digest: str) -> tuple[Path | None, tuple[str, ...]]:
    """The newest checkpoint from which training can continue, and the names of newer ones."""
    passed_over: list[str] = []
    for checkpoint in _newest_first(directory):
        if is_sound(checkpoint, job_digest):
            return checkpoint, tuple(passed_over)
        passed_over.append(checkpoint.name)
    return None, tuple(passed_over)


def remove_others(newest: Path) -> None:
    """Remove all checkpoints but the sound ``newest``."""
    for checkpoint in _newest_first(newest.parent):
        if checkpoint != newest:
            shutil.rmtree(checkpoint)


def remove_unsound(directory: Path, job_digest: str) -> None:
    """Remove the checkpoints from which training can't continue."""
    for checkpoint in _newest_first(directory):
        if not is_sound(checkpoint, job_digest):
            shutil.rmtree(checkpoint)


# The Trainer's own files in a sound checkpoint


def is_last(checkpoint: Path) -> bool:
    """True if training had ended there, and only the model is left to save."""
    state = json.loads((checkpoint / STATE_FILE).read_bytes())
    return bool(state["global_step"] >= state["max_steps"])


def step_of(checkpoint: Path) -> int:
    """The training step at which a checkpoint was written."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("checkpoint-*"), key=step_of, reverse=True)
