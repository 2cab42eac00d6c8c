"""What happens while it trains: metrics.jsonl, and checkpoints that are sealed and thinned out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlrun_assets.files import write_atomically
from mlrun_assets.records import EpochMetrics
from mlrun_assets.trainer.checkpoints import remove_others, seal
from mlrun_assets.trainer.training_time import TrainingTime

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
