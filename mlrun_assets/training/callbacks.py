"""What happens while it trains: metrics.jsonl, and checkpoints that are sealed and thinned out."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlrun_assets.files import digest_file, write_atomically
from mlrun_assets.records import EpochMetrics

TIME_FILE = "training_time.json"


class TrainingTime:
    """The seconds of this attempt so far, and those that led to the checkpoint it goes on from.

    What an attempt did after its last checkpoint is lost, and its time does not count: the tokens
    of a training over these seconds are its throughput.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.earlier = 0.0

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self._started

    def go_on_from(self, checkpoint: Path) -> None:
        """Count what led to a sound checkpoint; one of an older version does not say it."""
        file = checkpoint / TIME_FILE
        if file.exists():
            self.earlier = float(json.loads(file.read_bytes())["seconds"])

    def note_in(self, checkpoint: Path) -> None:
        """Write into a checkpoint, before it is sealed, what it took to come there."""
        write_atomically(checkpoint / TIME_FILE, json.dumps({"seconds": self.seconds}) + "\n")


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


SECONDS_BETWEEN_CHECKPOINTS = 600.0


class MetricsLog(TrainerCallback):
    """Appends what the Trainer logs to ``metrics.jsonl``: one object a line, with its step.

    A training that goes on from a checkpoint begins with what was logged until then: what came
    after it, and a line that a kill cut off, are gone.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            write_atomically(self._file, "".join(_line(entry) for entry in state.log_history))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line({"step": state.global_step, **(logs or {})}))


class SealedCheckpoints(TrainerCallback):
    """Seals each checkpoint once it is complete, and then removes all but it and the best.

    Where an epoch is long, checkpoints are also written within it, when the last one is ten minutes
    old. This is left out where several processes train: their clocks would have to agree.
    """

    def __init__(self, job: str, time_taken: TrainingTime) -> None:
        self._job, self._time_taken = job, time_taken
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        within_epoch = (state.epoch or 0.0) % 1 > 0
        old = time.monotonic() - self._last >= SECONDS_BETWEEN_CHECKPOINTS
        if within_epoch and old and args.world_size == 1:
            # The loss since the last entry is not part of a checkpoint: it is logged before.
            control.should_log = control.should_save = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        control.should_log = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # The other processes write their random state into it.
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            self._time_taken.note_in(checkpoint)
            seal(checkpoint, self._job)
            remove_others(checkpoint)
        self._last = time.monotonic()


def epoch_history(log: list[dict[str, float]]) -> tuple[EpochMetrics, ...]:
    """The Trainer's log as one entry an epoch; its training loss is the mean of its steps."""
    history = []
    last_step, loss_of_steps, steps = 0, 0.0, 0
    for entry in log:
        if "loss" in entry:
            covered = int(entry["step"]) - last_step
            last_step = int(entry["step"])
            loss_of_steps, steps = loss_of_steps + entry["loss"] * covered, steps + covered
        if "eval_loss" in entry:
            history.append(
                EpochMetrics(
                    epoch=entry["epoch"],
                    step=int(entry["step"]),
                    train_loss=loss_of_steps / steps if steps else None,
                    val_loss=entry["eval_loss"],
                    val_accuracy=entry["eval_accuracy"],
                    val_f1_macro=entry["eval_f1_macro"],
                )
            )
            loss_of_steps, steps = 0.0, 0
    return tuple(history)


def _line(entry: dict[str, float]) -> str:
    """An entry of the log with its step first."""
    return json.dumps({"step": entry["step"], **entry}) + "\n"
