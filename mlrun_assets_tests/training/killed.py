"""Trains, and kills the process at a moment with SIGKILL.

    python -m mlrun_assets_tests.training.killed MOMENT DIRECTORY ENCODER

The job is in a directory below DIRECTORY, named like the moment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from transformers import PreTrainedModel

from mlrun_assets.training import checkpoints, fine_tuning, trainer
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.training.trainer import FineTuningTrainer
from mlrun_assets_tests.examples import changed, tiny_job


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once_sealed(training: FineTuningTrainer, *_: object) -> None:
    for each in training.callback_handler.callbacks:
        if isinstance(each, checkpoints.SealedCheckpoints):
            each.close()
    die()


def half_written(model: Any, directory: str, **_: Any) -> None:
    Path(directory).mkdir(parents=True, exist_ok=True)
    (Path(directory) / "model.safetensors").write_bytes(b"\0" * 1000)
    die()


def half_removed(directory: Path) -> None:
    (directory / "optimizer.pt").unlink()
    die()


def after(real: Callable[..., None]) -> Callable[..., None]:
    def then_die(*arguments: Any, **settings: Any) -> None:
        real(*arguments, **settings)
        die()

    return then_die


def at(number: int, owner: Any, name: str, then: Callable[..., None] = die) -> Callable[[], Any]:
    """A patch of ``owner``: the call with this number of its function does something else."""
    real, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        return (then if calls == number else real)(*arguments, **settings)

    return lambda: mock.patch.object(owner, name, counted)


@contextmanager
def stuck_seal_in_a_step() -> Iterator[None]:
    with at(2, *SEAL, lambda *_: time.sleep(60))(), at(15, *STEP)():
        yield


STEP = FineTuningTrainer, "training_step"
SEAL = checkpoints, "seal"
MODEL = PreTrainedModel, "save_pretrained"
MOMENTS: dict[str, Callable[[], Any]] = {
    "before the first checkpoint": at(3, *STEP),
    "in a step": at(15, *STEP, die_once_sealed),
    "in a step, before the seal": stuck_seal_in_a_step,
    "while validating": at(2, fine_tuning, "val_metrics"),
    "while a checkpoint is written": at(2, *MODEL, half_written),
    "between weights and seal": at(2, *SEAL),
    "after the seal": at(2, *SEAL, after(checkpoints.seal)),
    "while an old checkpoint is removed": lambda: mock.patch.object(
        checkpoints, "shutil", SimpleNamespace(rmtree=half_removed)
    ),
    "after the last step": at(3, *SEAL, after(checkpoints.seal)),
    "while the model is written": at(4, *MODEL, half_written),
    "when the model is written": at(1, fine_tuning, "save_model", after(fine_tuning.save_model)),
    "within an epoch": at(11, *STEP, die_once_sealed),
}


def short_texts() -> Any:
    """A patch: the texts of the tests are short, too."""
    return mock.patch.object(trainer, "SHORT_TEXT_TOKENS", 8)


def job_of(moment: str, directory: Path, encoder: Path) -> FineTuningJob:
    job = tiny_job(directory / moment.replace(" ", "-"), encoder)
    return changed(job, short_epochs=2)  # a resumed training must know in which epoch it is


def main(moment: str, directory: str, encoder: str) -> None:
    job = job_of(moment, Path(directory), Path(encoder))
    if moment == "within an epoch":
        checkpoints.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    with MOMENTS[moment](), short_texts():
        fine_tuning.fine_tune(job)


if __name__ == "__main__":
    main(*sys.argv[1:])
