"""How far the training is, the metrics log and its history, TensorBoard and other trackers."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
)

from mlrun_assets.errors import TrainingError, count
from mlrun_assets.files import write_atomically
from mlrun_assets.progress import Lines, current_view, shown_by, task
from mlrun_assets.records import EpochMetrics
from mlrun_assets.types import ProgressCallback

TENSORBOARD = "tensorboard"


# Progress


class Progress(TrainerCallback):
    """How far the training is, and the val scores of each epoch.

    Rate and time left come from the steps of this attempt, validation and checkpoints included.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress = progress
        self._shown = ExitStack()
        self._advance: Callable[..., None] = lambda *_: None
        self._loss = ""

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        if not state.is_world_process_zero:
            return
        epochs = count(math.ceil(args.num_train_epochs), "epoch")
        self._progress(f"training: {count(state.max_steps, 'step')}, {epochs}")
        if not current_view():  # a process that only trains
            self._shown.enter_context(shown_by(Lines(self._progress)))
        self._advance = self._shown.enter_context(
            task("training", state.max_steps, "steps", state.global_step)
        )

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self._loss = f"loss {logs['loss']:.3f}"

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self._advance(1, self._loss)

    def on_evaluate(
        self, args: Any, state: TrainerState, *_: Any, metrics: dict[str, float], **__: Any
    ) -> None:
        if state.is_world_process_zero:
            self._progress(
                f"training: epoch {state.epoch:.0f}, "
                f"val macro-F1 {metrics['eval_f1_macro']:.3f}, "
                f"accuracy {metrics['eval_accuracy']:.3f}, loss {metrics['eval_loss']:.3f}"
            )

    def close(self) -> None:
        """The training has ended, however."""
        self._shown.close()


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
