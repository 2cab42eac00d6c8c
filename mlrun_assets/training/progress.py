"""Progress bar or lines, the metrics log and its history, TensorBoard and other trackers."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
)

from mlrun_assets.config import COLUMNS_VARIABLE
from mlrun_assets.errors import TrainingError, count
from mlrun_assets.files import write_atomically
from mlrun_assets.records import EpochMetrics
from mlrun_assets.types import ProgressCallback

TENSORBOARD = "tensorboard"
BAR = (
    "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {rate_fmt}, "
    "about {remaining} left{postfix}"
)


# Progress


class Progress(TrainerCallback):
    """A bar on a terminal, elsewhere a line every tenth of the steps; val scores per epoch.

    Rate and time left come from the steps of this attempt, validation and checkpoints included.
    Early stopping may end training sooner.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._started, self._first_step = time.perf_counter(), 0
        self._bar: tqdm[Any] | None = None
        self._loss = ""

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if not state.is_world_process_zero:
            return
        epochs = count(math.ceil(args.num_train_epochs), "epoch")
        self._progress(f"training: {state.max_steps:,} steps, at most {epochs}")
        self._started, self._first_step = time.perf_counter(), state.global_step
        columns = os.environ.get(COLUMNS_VARIABLE, "")
        if sys.stderr.isatty():
            columns = str(os.get_terminal_size(sys.stderr.fileno()).columns)
        if columns.isdecimal() and int(columns):
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                bar_format=BAR,
                file=sys.stderr,
                ncols=int(columns),
                mininterval=0.5,
                smoothing=0,  # the mean rate: the last one leaves out the pause after an epoch
                unit=" steps",
            )

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self._loss = f"loss {logs['loss']:.3f}"

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if not state.is_world_process_zero:
            return
        if self._bar is not None:
            self._bar.set_postfix_str(self._loss, refresh=False)
            self._bar.update()
            return
        step, steps = state.global_step, state.max_steps
        if step * 10 // steps > (step - 1) * 10 // steps:
            rate = (step - self._first_step) / (time.perf_counter() - self._started)
            left = tqdm.format_interval((steps - step) / rate)
            line = f"step {step:,} of {steps:,}, {rate:.2f} steps/s, about {left} left"
            self._progress(f"training: {line}{self._loss and f', {self._loss}'}")

    def on_evaluate(
        self, args: Any, state: TrainerState, *_: Any, metrics: dict[str, float], **__: Any
    ) -> None:
        if state.is_world_process_zero:
            with tqdm.external_write_mode(file=sys.stderr):  # above the bar, if there is one
                self._progress(
                    f"training: epoch {state.epoch:.0f}, "
                    f"val macro-F1 {metrics['eval_f1_macro']:.3f}, "
                    f"accuracy {metrics['eval_accuracy']:.3f}, loss {metrics['eval_loss']:.3f}"
                )

    def close(self) -> None:
        """Keep the bar on the screen, so that the next output starts on a line of its own."""
        if self._bar is not None:
            self._bar.close()


# The metrics log and its history


class MetricsLog(TrainerCallback):
    """Writes the Trainer's log to a file, one JSON object per line, with its step.

    A resumed training starts with the log of its checkpoint: later lines, and a line that a kill
    cut off, are removed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero:
            write_atomically(self._file, "".join(_line(entry) for entry in state.log_history))

    def on_log(
        self, args: Any, state: TrainerState, *_: Any, logs: dict[str, float], **__: Any
    ) -> None:
        if state.is_world_process_zero:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line({"step": state.global_step, **logs}))


def _line(entry: dict[str, float]) -> str:
    return json.dumps({"step": entry["step"], **entry}) + "\n"


def _epoch_losses(log: list[dict[str, float]]) -> dict[int, float]:
    """The mean training loss per epoch, from 1; a log entry is the mean since the one before."""
    sums: defaultdict[int, float] = defaultdict(float)
    steps: defaultdict[int, int] = defaultdict(int)
    last = 0
    for entry in log:
        if "loss" in entry:
            epoch, step = math.ceil(entry["epoch"]), int(entry["step"])
            sums[epoch] += entry["loss"] * (step - last)
            steps[epoch] += step - last
            last = step
    return {epoch: total / steps[epoch] for epoch, total in sums.items()}


def epoch_history(log: list[dict[str, float]]) -> tuple[EpochMetrics, ...]:
    """The training loss and the val scores of the epochs in the Trainer's log."""
    losses = _epoch_losses(log)
    return tuple(
        EpochMetrics(
            epoch=entry["epoch"],
            step=int(entry["step"]),
            train_loss=losses.get(math.ceil(entry["epoch"])),
            val_loss=entry["eval_loss"],
            val_accuracy=entry["eval_accuracy"],
            val_f1_macro=entry["eval_f1_macro"],
        )
        for entry in log
        if "eval_loss" in entry
    )


# Trackers


def resolve_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    """The trackers behind ``names``: ``all`` means every installed one, ``none`` no tracker.

    Raises:
        TrainingError: a tracker is unknown to transformers, or its package is not installed.
    """
    available = tuple(sorted(get_available_reporting_integrations()))
    resolved: list[str] = []
    for name in names:
        if name == "all":
            resolved.extend(available)
        elif name in available:
            resolved.append(name)
        elif name in INTEGRATION_TO_CALLBACK:
            raise TrainingError(
                f"training.report_to: the package of `{name}` is not installed; install it, or "
                f"name an installed one: {', '.join(available)}"
            )
        elif name != "none":
            raise TrainingError(
                f"training.report_to: transformers knows no tracker `{name}`; it knows "
                f"{', '.join(sorted(INTEGRATION_TO_CALLBACK))}"
            )
    return tuple(dict.fromkeys(resolved))


class TrainingCurves(TensorBoardCallback):
    """TensorBoard's files in ``logs_dir``.

    A resumed training hides the points after its checkpoint, as they are logged again.
    """

    def __init__(self, logs_dir: Path) -> None:
        super().__init__()
        self._logs_dir = logs_dir

    def on_train_begin(self, args: Any, state: TrainerState, *others: Any, **more: Any) -> None:
        if state.is_world_process_zero:
            self.tb_writer = SummaryWriter(str(self._logs_dir), purge_step=state.global_step + 1)
            super().on_train_begin(args, state, *others, **more)


@contextmanager
def close_curves(trainer: Trainer) -> Iterator[None]:
    """Close the file of `TrainingCurves` however the block ends.

    Its thread prints no error: the same one is raised where the next point is logged.
    """
    before = threading.excepthook

    def report(error: threading.ExceptHookArgs) -> None:
        if not type(error.thread).__module__.startswith("tensorboard."):
            before(error)

    threading.excepthook = report
    try:
        yield
    finally:
        curves = trainer.pop_callback(TrainingCurves)
        if curves and curves.tb_writer:  # training failed
            with suppress(OSError):
                curves.tb_writer.file_writer.close()
        threading.excepthook = before


@contextmanager
def finish_wandb_run() -> Iterator[None]:
    """End the wandb run that the Trainer opened within, and would leave open for the next seed.

    A run that was open before belongs to the caller and stays open.
    """
    before = _open_run()
    status = 1
    try:
        yield
        status = 0
    finally:
        run = _open_run()
        if run is not None and run is not before:
            run.finish(exit_code=status)


def _open_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
