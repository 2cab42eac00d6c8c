"""What happens while it trains: progress, metrics.jsonl, sealed checkpoints."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlrun_assets.records import EpochMetrics
from mlrun_assets.trainer.checkpoints import seal
from mlrun_assets.trainer.job import Report


class Progress(TrainerCallback):
    """A line every tenth of the steps: rate, time left, loss."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = 0.0
        self._first_step = 0
        self._loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._started, self._first_step = time.perf_counter(), state.global_step
        self._report(f"training: {state.max_steps:,} steps, at most {args.num_train_epochs} epochs")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self._loss = (logs or {}).get("loss", self._loss)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        every = max(1, state.max_steps // 10)
        if state.global_step % every == 0:
            seconds = time.perf_counter() - self._started
            rate = (state.global_step - self._first_step) / max(seconds, 1e-9)
            left = (state.max_steps - state.global_step) / max(rate, 1e-9)
            loss = "" if self._loss is None else f", loss {self._loss:.3f}"
            self._report(
                f"training: step {state.global_step:,} of {state.max_steps:,}, {rate:.2f} steps/s, "
                f"at most {left:.0f} s left{loss}"
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if metrics:
            self._report(
                f"training: epoch {state.epoch:.0f}, val macro-F1 {metrics['eval_f1_macro']:.3f}, "
                f"accuracy {metrics['eval_accuracy']:.3f}, loss {metrics['eval_loss']:.3f}"
            )


class MetricsLog(TrainerCallback):
    """Appends what the Trainer logs to ``metrics.jsonl``: one object a line, with its step."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


class SealCheckpoints(TrainerCallback):
    """Seals each checkpoint once it is complete."""

    def __init__(self, job: str) -> None:
        self._job = job

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # The other processes write their random state into it.
        args.distributed_state.wait_for_everyone()
        if state.is_world_process_zero:
            seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", self._job)


def epoch_history(log: list[dict[str, float]]) -> tuple[EpochMetrics, ...]:
    """The Trainer's log as one entry an epoch."""
    history = []
    train_loss: float | None = None
    for entry in log:
        train_loss = entry.get("loss", train_loss)
        if "eval_loss" in entry:
            history.append(
                EpochMetrics(
                    epoch=entry["epoch"],
                    step=int(entry["step"]),
                    train_loss=train_loss,
                    val_loss=entry["eval_loss"],
                    val_accuracy=entry["eval_accuracy"],
                    val_f1_macro=entry["eval_f1_macro"],
                )
            )
    return tuple(history)
