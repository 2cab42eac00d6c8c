"""Trains in a process for each moment that is named, and kills it at that moment with SIGKILL.

    python -m mlrun_assets_tests.training.killed ENCODER DIRECTORY MOMENT...

Each process works in a directory of its own, named like the moment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mlrun_assets.metrics import val_metrics
from mlrun_assets.training import checkpoints, fine_tuning
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.training.trainer import FineTuningTrainer
from mlrun_assets_tests.examples import changed, tiny_job


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, then: Callable[..., None], real: Callable[..., Any]) -> Callable[..., Any]:
    """``real``, except that its call of this number does something else."""
    calls = 0

    def counted(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        return (then if calls == number else real)(*arguments, **settings)

    return counted


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


def mid_step(step: int) -> Any:
    trainer = FineTuningTrainer
    return mock.patch.object(trainer, "training_step", at_call(step, die, trainer.training_step))


def seal_at(number: int, then: Callable[..., None]) -> Any:
    return mock.patch.object(checkpoints, "seal", at_call(number, then, checkpoints.seal))


def model_files(number: int, then: Callable[..., None]) -> Any:
    from transformers import PreTrainedModel

    real = PreTrainedModel.save_pretrained
    return mock.patch.object(PreTrainedModel, "save_pretrained", at_call(number, then, real))


MOMENTS: dict[str, Callable[[], Any]] = {
    "before the first checkpoint": lambda: mid_step(3),
    "in a step": lambda: mid_step(15),
    "while validating": lambda: mock.patch.object(
        fine_tuning, "val_metrics", at_call(2, die, val_metrics)
    ),
    "while a checkpoint is written": lambda: model_files(2, half_written),
    "between weights and seal": lambda: seal_at(2, die),
    "after the seal": lambda: seal_at(2, after(checkpoints.seal)),
    "while an old checkpoint is removed": lambda: mock.patch.object(
        checkpoints, "shutil", SimpleNamespace(rmtree=half_removed)
    ),
    "after the last step": lambda: seal_at(3, after(checkpoints.seal)),
    "while the model is written": lambda: model_files(4, half_written),
    "when the model is written": lambda: mock.patch.object(
        fine_tuning, "_save", after(fine_tuning._save)
    ),
    "patience is running out": lambda: mid_step(15),
    "patience has run out": lambda: seal_at(3, after(checkpoints.seal)),
    "within an epoch": lambda: mid_step(11),
}


def job_of(moment: str, directory: Path, encoder: Path) -> FineTuningJob:
    job = tiny_job(directory / moment.replace(" ", "-"), encoder)
    if moment.startswith("patience"):
        # Nothing is learned after the first epoch, so training stops after the third.
        return changed(job, epochs=12, early_stopping_patience=2, learning_rate=1e-9)
    return job


def main() -> None:
    encoder, directory, *moments = sys.argv[1:]
    for moment in moments:
        child = os.fork()
        if child == 0:
            train_until(moment, Path(directory), Path(encoder))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, moment


def train_until(moment: str, directory: Path, encoder: Path) -> None:
    # The job too is made here: a process that has used polars can't be forked.
    job = job_of(moment, directory, encoder)
    if moment == "within an epoch":
        checkpoints.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    with MOMENTS[moment]():
        fine_tuning.fine_tune(job)


if __name__ == "__main__":
    main()
