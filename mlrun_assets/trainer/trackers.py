"""The trackers that a run reports to, by the names that transformers gives them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
)

from mlrun_assets.errors import TrainingError

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
