"""How far training is: a bar on a terminal, a line every tenth of the steps elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
)

from mlrun_assets.config import COLUMNS_VARIABLE
from mlrun_assets.errors import TrainingError
from mlrun_assets.training.job import Report

# A step goes forwards and backwards, which is twice the work of forwards: Kaplan et al., 2020.
FORWARD_SHARE = 1 / 3
BAR = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {rate_fmt}{postfix}"


class Pace:
    """The time that is left, from what steps and the pauses between epochs have taken.

    ``pause_steps`` is the guess, until the first pause has been timed, of how many steps one takes:
    the val split is predicted and a checkpoint written.
    """

    def __init__(self, pause_steps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._pause_steps = clock, pause_steps
        self._seconds, self._steps = 0.0, 0
        self._pauses: list[float] = []
        self._since = clock()

    def step(self) -> None:
        """A step has ended."""
        self._seconds += self._lap()
        self._steps += 1

    def epoch(self) -> None:
        """An epoch begins: since the last step there was a pause."""
        pause = self._lap()
        if self._steps:
            self._pauses.append(pause)

    @property
    def steps_a_second(self) -> float:
        """Steps a second, pauses left out."""
        return self._steps / max(self._seconds, 1e-9)

    def seconds_left(self, steps: int, pauses: int) -> float:
        """The time that so many steps and pauses will take."""
        step = self._seconds / max(1, self._steps)
        known = sum(self._pauses) / len(self._pauses) if self._pauses else step * self._pause_steps
        return steps * step + pauses * known

    def _lap(self) -> float:
        now = self._clock()
        seconds, self._since = now - self._since, now
        return seconds


def terminal_columns() -> int | None:
    """The width of the terminal that standard error leads to; None: it leads elsewhere."""
    if sys.stderr.isatty():
        return os.get_terminal_size(sys.stderr.fileno()).columns
    columns = os.environ.get(COLUMNS_VARIABLE, "")
    return int(columns) if columns.isdecimal() else None


class Progress(TrainerCallback):
    """Rate, time left and loss; after each epoch the val scores.

    ``val_share`` is the number of val rows for each row of train.
    """

    def __init__(self, report: Report, val_share: float, activity: str = "training") -> None:
        self._report, self._val_share, self._activity = report, val_share, activity
        self._pace = Pace(0.0)
        self._bar: tqdm[Any] | None = None
        self._loss = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        epochs = math.ceil(args.num_train_epochs)
        self._report(f"{self._activity}: {state.max_steps:,} steps, at most {epochs} epochs")
        self._pace = Pace(state.max_steps / epochs * self._val_share * FORWARD_SHARE)
        columns = terminal_columns()
        if columns:
            self._bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self._activity,
                bar_format=BAR,
                file=sys.stderr,
                ncols=columns,
                mininterval=0.5,
                unit=" steps",
            )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._pace.epoch()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._loss = f", loss {logs['loss']:.3f}"

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._pace.step()
        if not state.is_world_process_zero:
            return
        left = tqdm.format_interval(self._seconds_left(args, state))
        if self._bar is not None:
            self._bar.set_postfix_str(f"at most {left} left{self._loss}", refresh=False)
            self._bar.update()
        elif _tenth(state.global_step, state) > _tenth(state.global_step - 1, state):
            self._report(
                f"{self._activity}: step {state.global_step:,} of {state.max_steps:,}, "
                f"{self._pace.steps_a_second:.2f} steps/s, at most {left} left{self._loss}"
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if metrics and state.is_world_process_zero:
            self._say(
                f"training: epoch {state.epoch:.0f}, val macro-F1 {metrics['eval_f1_macro']:.3f}, "
                f"accuracy {metrics['eval_accuracy']:.3f}, loss {metrics['eval_loss']:.3f}"
            )

    def close(self) -> None:
        """Leave the bar as it stands, so that the next line starts on a line of its own."""
        if self._bar is not None:
            self._bar.close()

    def _seconds_left(self, args: TrainingArguments, state: TrainerState) -> float:
        epochs = math.ceil(args.num_train_epochs)
        ended = (state.global_step - 1) * epochs // state.max_steps
        return self._pace.seconds_left(state.max_steps - state.global_step, epochs - ended)

    def _say(self, line: str) -> None:
        """Say a line above the bar, where there is one."""
        if self._bar is not None:
            self._bar.clear()
        self._report(line)
        if self._bar is not None:
            self._bar.refresh()


def _tenth(step: int, state: TrainerState) -> int:
    return step * 10 // int(state.max_steps)


TENSORBOARD = "tensorboard"


def resolve_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    """The trackers that ``names`` means: ``all`` is every one that is installed, ``none`` no one.

    Raises:
        TrainingError: transformers does not know one, or what one needs is not installed.
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
                f"training.report_to: what `{name}` needs is not installed; install it, or name "
                f"one that is there: {', '.join(available)}"
            )
        elif name != "none":
            raise TrainingError(
                f"training.report_to: transformers knows no tracker `{name}`; it knows "
                f"{', '.join(sorted(INTEGRATION_TO_CALLBACK))}"
            )
    return tuple(dict.fromkeys(resolved))


@contextmanager
def runs_that_end() -> Iterator[None]:
    """End the run that wandb opened within, which the Trainer leaves open for what follows.

    The next seed would be logged into it. A run that was open before is its opener's.
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


class TrainingCurves(TensorBoardCallback):
    """TensorBoard's files in ``logs_dir``.

    Training that goes on from a checkpoint hides what was logged after it: it comes again.
    """

    def __init__(self, logs_dir: Path) -> None:
        super().__init__()
        self._logs_dir = logs_dir

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        if state.is_world_process_zero:
            self.tb_writer = SummaryWriter(str(self._logs_dir), purge_step=state.global_step + 1)
            super().on_train_begin(args, state, control, **more)
