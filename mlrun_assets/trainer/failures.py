"""What stops a training that was sound until then, in words: not finite, no memory, no room."""

from __future__ import annotations

import errno
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer, TrainerState

from mlrun_assets.errors import TrainingError
from mlrun_assets.trainer.checkpoints import remove_unsound
from mlrun_assets.trainer.job import FineTuningJob

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IDS_SHOWN = 10
MIB = 2**20


@dataclass(frozen=True)
class Batch:
    """What the model was last given, as an error tells it; no ids: rows of the val split."""

    rows: int
    tokens: int
    ids: tuple[str, ...]

    def __str__(self) -> str:
        size = f"{self.rows} rows x {self.tokens} tokens"
        if not self.ids:
            return f"a batch of the val split ({size})"
        more = f" and {len(self.ids) - IDS_SHOWN} more" if len(self.ids) > IDS_SHOWN else ""
        return f"the batch ({size}) of rows {', '.join(self.ids[:IDS_SHOWN])}{more}"


class Training(Protocol):
    """What is asked of the Trainer that failed."""

    state: TrainerState
    model: PreTrainedModel
    batch: Batch | None


class HaltingTrainer(Trainer, ABC):
    """A Trainer that goes no further once its loss or a gradient is not finite."""

    def require_finite(self, loss: torch.Tensor) -> None:
        """Raise what `not_finite` says of a loss that is not a number."""
        if not torch.isfinite(loss):
            raise self.not_finite("loss")

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(norm):
            raise self.not_finite("gradient")
        return norm

    @abstractmethod
    def not_finite(self, what: str) -> TrainingError:
        """The error that says where ``what``, loss or gradient, stopped being a number."""


def not_finite(what: str, step: int, batch: Batch | None, bf16: bool) -> str:
    """What to say of a loss or gradient that is not a number."""
    exactly = ", or set training.bf16 to false" if bf16 else ""
    return (
        f"the {what} is not finite at step {step}, in {batch}: look at these rows, and lower "
        f"training.learning_rate{exactly}, in a new run; earlier checkpoints stay"
    )


def pretraining_not_finite(what: str, step: int, batch: Batch | None, bf16: bool) -> str:
    """The same of the pretraining, whose learning rate is not set."""
    exactly = "set training.bf16 to false, or " if bf16 else ""
    return (
        f"the {what} of the pretraining is not finite at step {step}, in {batch}: look at these "
        f"texts, or {exactly}set training.pretraining_epochs to 0, in a new run"
    )


@contextmanager
def explained(trainer: Training, job: FineTuningJob) -> Iterator[None]:
    """Within: memory or disk running out is said in words; other errors pass as they are.

    A checkpoint that was cut off is removed, as it only takes room; those before it stay.

    Raises:
        TrainingError: memory or disk ran out; the message says where, and what can be done.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, SafetensorError) as error:
        if _is_out_of_memory(error):
            raise TrainingError(_out_of_memory(trainer)) from error
        if _is_out_of_room(error):
            remove_unsound(job.checkpoints_dir, job.digest)
            raise TrainingError(_out_of_room(trainer, job.checkpoints_dir)) from error
        raise


def _is_out_of_memory(error: Exception) -> bool:
    """On a CPU torch raises a plain RuntimeError, on a GPU one of its own kind."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _is_out_of_room(error: Exception) -> bool:
    """Torch's writer does not say why it fails, but its file does nothing except to write and read.

    The writer of safetensors gives the number of the system's error, as text.
    """
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    if isinstance(error, SafetensorError):
        return any(f"(os error {number})" in str(error) for number in NO_ROOM)
    return "inline_container.cc" in str(error)


def _out_of_memory(trainer: Training) -> str:
    return (
        f"memory ran out at step {trainer.state.global_step + 1}, in {trainer.batch}: close other "
        "programs and resume, or start a new run with a smaller training.batch_size or "
        "model.max_length, with training.freeze: embeddings, or with model.trim_vocabulary: true"
    )


def _out_of_room(trainer: Training, directory: Path) -> str:
    free = shutil.disk_usage(directory.parent).free
    return (
        f"{directory.parent}: no room to write at step {trainer.state.global_step}: a checkpoint "
        f"takes {checkpoint_bytes(trainer.model) // MIB:,} MiB, {free // MIB:,} MiB are free: make "
        "room, or raise the limit on what you may write, and resume; earlier checkpoints stay"
    )


def checkpoint_bytes(model: torch.nn.Module) -> int:
    """The weights, and for each that is trained the two moments of AdamW."""
    return sum(
        parameter.numel() * parameter.element_size() * (3 if parameter.requires_grad else 1)
        for parameter in model.parameters()
    )
