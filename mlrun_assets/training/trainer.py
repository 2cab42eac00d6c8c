"""Several processes train as one: the same batches and the same loss, whatever their number.

Each process computes a part of every batch, and the gradients are averaged over the processes.
"""

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
import torch.distributed as dist
from datasets import Dataset, disable_progress_bars
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerState,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from mlrun_assets.errors import TrainingError
from mlrun_assets.records import Recipe
from mlrun_assets.training.callbacks import remove_unsound
from mlrun_assets.training.job import FineTuningJob


class SeededLengthGroups(LengthGroupedSampler):
    """Rows of like length together, in an order of its own for each epoch.

    transformers draws the order from the state that torch's generator happens to have when an
    epoch begins, which a checkpoint from the middle of the epoch no longer holds.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says, by way of accelerate, which epoch begins; the first is 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        return iter(list(super().__iter__()))


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


class WeightedTrainer(HaltingTrainer):
    """Trainer whose loss is cross-entropy with label weights and label smoothing.

    In training each row brings its number (``row``), so that what goes wrong can be traced to the
    rows of its batch. Validation loss is plain cross-entropy: it must not depend on the recipe.
    """

    def __init__(self, recipe: Recipe, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._recipe, self._row_ids = recipe, row_ids
        self.batch: Batch | None = None
        self._smoothing = recipe.label_smoothing
        self._weights = (
            torch.tensor(recipe.class_weights, device=self.args.device)
            if recipe.class_weights
            else None
        )
        # The loss is the mean of a batch; the Trainer divides it when it accumulates.
        self.loss_is_scaled_for_ga = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch, and the outputs where they are asked for."""
        self.batch = self._told(inputs.pop("row", None), inputs["input_ids"])
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs.logits.float()
        if model.training:
            loss = cross_entropy(
                logits, labels, weight=self._weights, label_smoothing=self._smoothing
            )
        else:
            loss = cross_entropy(logits, labels)
        self.require_finite(loss)
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(rows)
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return SeededLengthGroups(list(rows["length"]), size, self.args.seed)

    def _told(self, rows: torch.Tensor | None, input_ids: torch.Tensor) -> Batch:
        numbers = [] if rows is None else rows.tolist()
        ids = tuple(self._row_ids[number] for number in numbers)
        rows_padded, tokens = input_ids.shape
        return Batch(rows_padded, tokens, ids)

    def not_finite(self, what: str) -> TrainingError:
        step = self.state.global_step + (1 if self.model.training else 0)
        return TrainingError(not_finite(what, step, self.batch, self._recipe.bf16))


class DataParallelTrainer(WeightedTrainer):
    """A Trainer of one process, or of several that compute what one would.

    What is left of a difference: sums in another order, padding to the longest row of a part of the
    batch, and dropout, which each process draws for itself.
    """

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch; in training, this process's part of that of the whole batch."""
        if not model.training or self.args.world_size == 1:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        own = self._own_rows(len(inputs["labels"]))
        # A process without a row computes one that does not count: all must take part.
        part = {name: value[: max(1, own)] for name, value in inputs.items()}
        labels = part["labels"][:own]
        loss, outputs = super().compute_loss(model, part, True, num_items_in_batch)
        loss = loss * self._share(labels)
        return (loss, outputs) if return_outputs else loss

    def _own_rows(self, given: int) -> int:
        """How many of the rows that this process was ``given`` count.

        accelerate fills up the last batch of an epoch with rows that were in the first one.
        """
        batch, before = self._recipe.batch_size, int(self.args.process_index) * given
        last = self.accelerator.gradient_state.end_of_dataloader
        rows = len(self.train_dataset) % batch if last else 0
        return min(given, max(0, (rows or batch) - before))

    def _share(self, labels: torch.Tensor) -> torch.Tensor:
        """What turns the weighted mean of some rows into its part of that of the whole batch.

        The gradients are averaged over the processes, not summed: hence their number in it.
        """
        weights = self._recipe.class_weights
        own = (
            torch.tensor(weights, device=labels.device)[labels].sum()
            if weights
            else torch.tensor(float(len(labels)), device=labels.device)
        )
        whole = own.clone()
        dist.all_reduce(whole)
        return own * self.args.world_size / whole

    def evaluation_loop(self, *args: Any, **settings: Any) -> EvalLoopOutput:
        """The Trainer's, with the loss of all rows: its own counts what fills up the last batch."""
        output = super().evaluation_loop(*args, **settings)
        prefix = settings.get("metric_key_prefix", "eval")
        logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
        output.metrics[f"{prefix}_loss"] = float(cross_entropy(logits, labels))
        return output


def summed(value: float, device: torch.device) -> float:
    """The sum of a number that each process has."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, device=device)
    dist.all_reduce(total)
    return float(total)


def tokenised(
    file: Path, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], max_length: int
) -> Dataset:
    """The split in ``file`` as token ids and label numbers, with ``length`` and ``row``.

    Rows stay on the disk: the Arrow files are memory-mapped from a cache beside ``file``.
    """
    disable_progress_bars()
    numbers = {label: number for number, label in enumerate(labels)}

    def encode(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        encoded = tokenizer(batch["text"], truncation=True, max_length=max_length)
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "labels": [numbers[label] for label in batch["label"]],
            "length": [len(ids) for ids in encoded["input_ids"]],
            "row": rows,
        }

    split = Dataset.from_parquet(str(file), cache_dir=str(file.parent / "cache"))
    return split.map(
        encode,
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        load_from_cache_file=False,
        keep_in_memory=False,
    )


class Collator:
    """Pads a batch to its longest row, to a multiple of eight tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch as tensors: ids (rows x tokens), labels and row numbers (rows)."""
        kept = ("input_ids", "attention_mask", "labels", "row")
        batch = self._pad([{name: row[name] for name in kept if name in row} for row in rows])
        return dict(batch)
