"""The Trainer subclass: class weights, batches by length, several processes, and clear errors.

Private interfaces of transformers that have no public substitute; a test compares them with the
installed version:

- ``Trainer._clip_grad_norm``: the only place that has the norm of the gradients before the step.
- ``Trainer._get_train_sampler``: ``get_train_dataloader``, the public method, would also have to
  repeat how the Trainer seeds its workers and prepares the loader for several processes.
- ``trainer_pt_utils.LengthGroupedSampler`` and ``trainer_utils.EvalLoopOutput``: not documented.
- ``integrations.integration_utils`` (`progress`): the names of the trackers and their callbacks.
- The files of a checkpoint (`checkpoints`): ``trainer_state.json`` in ``checkpoint-STEP``.
"""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset, disable_progress_bars
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from mlrun_assets.errors import TrainingError, count
from mlrun_assets.records import SHORT_TEXT_TOKENS, Recipe
from mlrun_assets.training.checkpoints import remove_unsound
from mlrun_assets.training.job import FineTuningJob

# Settings


class SingleGpuArguments(TrainingArguments):
    """TrainingArguments of a process that uses at most one GPU.

    The Trainer would otherwise give a whole batch to every GPU. Use ``torchrun`` for several GPUs.
    """

    @property
    def n_gpu(self) -> int:
        return min(1, int(super().n_gpu))


# The Trainer

MAX_NAMED = 10  # rows of a batch in an error message


class FineTuningTrainer(Trainer):
    """A Trainer of one process, or of several that compute what one would.

    In training the loss is cross-entropy with class weights and label smoothing, and the first
    epochs may read the beginnings of texts only. Validation loss is plain cross-entropy: it must
    not depend on the recipe.

    Every process computes a part of every batch, and the gradients are averaged over the
    processes. The remaining differences to one process: sums in another order, padding to the
    longest row of a part of the batch, and dropout, which every process draws for itself.

    Training stops with an error when the loss or a gradient is not finite. Every training row has
    its number (``row``), so that the error can name the rows of the batch by their ``row_ids``.
    """

    def __init__(self, recipe: Recipe, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.remove_callback(PrinterCallback)
        self._recipe, self._row_ids = recipe, row_ids
        weights = recipe.class_weights
        self._weights = torch.tensor(weights, device=self.args.device) if weights else None
        self.batch: str | None = None  # the last batch that the model got, for error messages
        # The loss is the mean of a batch; the Trainer divides it when it accumulates.
        self.loss_is_scaled_for_ga = False

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> Any:
        """The loss of a batch; in training, this process's part of it. Outputs if asked."""
        shares_batch = model.training and self.args.world_size > 1
        own = len(inputs["labels"])
        if shares_batch:
            own = self._own_rows(own)
            # All processes must take part: one without a row computes one that does not count.
            inputs = {name: value[: max(1, own)] for name, value in inputs.items()}
        short = model.training and (self.state.epoch or 0.0) < self._recipe.short_epochs
        if short and inputs["attention_mask"][:, 0].all():  # no padding before the texts
            inputs = {
                name: value[:, :SHORT_TEXT_TOKENS] if value.ndim > 1 else value
                for name, value in inputs.items()
            }
        self._note_batch(inputs)
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs.logits.float()
        if model.training:
            smoothing = self._recipe.label_smoothing
            loss = cross_entropy(logits, labels, weight=self._weights, label_smoothing=smoothing)
        else:
            loss = cross_entropy(logits, labels)
        if not torch.isfinite(loss):
            raise self._not_finite("loss")
        if shares_batch:
            loss = loss * self._share(labels[:own])
        return (loss, outputs) if return_outputs else loss

    def _note_batch(self, inputs: dict[str, torch.Tensor]) -> None:
        """Keep the ids of the batch, and remove the row numbers from the model's inputs."""
        numbers = inputs.pop("row", None)
        rows, tokens = inputs["input_ids"].shape
        size = f"({count(rows, 'row')} x {count(tokens, 'token')})"
        if numbers is None:
            self.batch = f"a batch of the val split {size}"
        else:
            named = ", ".join(self._row_ids[number] for number in numbers[:MAX_NAMED].tolist())
            more = f" and {len(numbers) - MAX_NAMED} more" if len(numbers) > MAX_NAMED else ""
            self.batch = f"the batch {size} of rows {named}{more}"

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(norm):
            raise self._not_finite("gradient")
        return norm

    def _not_finite(self, what: str) -> TrainingError:
        step = self.state.global_step + (1 if self.model.training else 0)
        bf16 = ", or set training.bf16 to false" if self.args.bf16 else ""
        return TrainingError(
            f"the {what} is not finite at step {step}, in {self.batch}: look at these rows, and "
            f"lower training.learning_rate{bf16}, in a new run; earlier checkpoints stay"
        )

    def _own_rows(self, given: int) -> int:
        """The number of rows that count, of those ``given`` to this process.

        accelerate fills up the last batch of an epoch with rows of the first one.
        """
        batch, before = self._recipe.batch_size, int(self.args.process_index) * given
        last = self.accelerator.gradient_state.end_of_dataloader
        rows = len(self.train_dataset) % batch if last else 0
        return min(given, max(0, (rows or batch) - before))

    def _share(self, labels: torch.Tensor) -> torch.Tensor:
        """The factor from the weighted mean of some rows to its part of the whole batch's mean.

        It contains the number of processes, as gradients are averaged over them, not summed.
        """
        own = (
            torch.tensor(float(len(labels)), device=labels.device)
            if self._weights is None
            else self._weights[labels].sum()
        )
        return own * self.args.world_size / self.accelerator.reduce(own)

    def evaluation_loop(self, *args: Any, **settings: Any) -> EvalLoopOutput:
        """Evaluate, with the loss of all rows: the Trainer's also counts the filled-up rows."""
        output = super().evaluation_loop(*args, **settings)
        prefix = settings.get("metric_key_prefix", "eval")
        logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
        output.metrics[f"{prefix}_loss"] = float(cross_entropy(logits, labels))
        return output

    def _get_train_sampler(self, train_dataset: Dataset) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        lengths = list(train_dataset["length"])
        return SeededLengthGroups(lengths, self.args.train_batch_size, self.args.seed)


# Batches


def tokenize_split(
    file: Path, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], max_length: int
) -> Dataset:
    """The split in ``file`` as token ids and label numbers, with ``length`` and ``row``.

    Their rows stay on the disk: they are memory-mapped from a cache beside ``file``.
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

    # `Dataset.from_parquet` takes a name with brackets for a pattern.
    split = Dataset.from_polars(pl.read_parquet(file, columns=["text", "label"], glob=False))
    cache = file.parent / "cache"
    cache.mkdir(exist_ok=True)
    return split.map(
        encode,
        cache_file_name=str(cache / f"{file.stem}.arrow"),
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        load_from_cache_file=False,
    )


def collate(
    rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase
) -> dict[str, torch.Tensor]:
    """A batch as tensors: ids (rows x tokens), labels and row numbers (rows).

    It is padded to its longest row, rounded up to a multiple of eight tokens.
    """
    kept = ("input_ids", "attention_mask", "labels", "row")
    pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)
    return dict(pad([{name: row[name] for name in kept if name in row} for row in rows]))


class SeededLengthGroups(LengthGroupedSampler):
    """Rows of similar length together, in an order that depends on seed and epoch only.

    transformers draws the order from the state of torch's generator at the start of an epoch,
    which a checkpoint from the middle of the epoch does not contain.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate when an epoch begins; the first is 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        return iter(list(super().__iter__()))


# Out of memory, out of disk space

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MIB = 2**20


@contextmanager
def explain_errors(trainer: FineTuningTrainer, job: FineTuningJob) -> Iterator[None]:
    """Turn errors about memory or disk space into a `TrainingError`; others pass unchanged.

    An incomplete checkpoint is removed, as it only takes space; earlier ones stay.

    Raises:
        TrainingError: memory or disk space ran out; the message gives the place and the options.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, SafetensorError) as error:
        step = trainer.state.global_step
        if _is_out_of_memory(error):
            raise TrainingError(
                f"memory ran out at step {step + 1}, in {trainer.batch}: close other programs and "
                "resume, or start a new run with a smaller training.batch_size or "
                "model.max_length, with training.freeze: embeddings, or with "
                "model.trim_vocabulary: true"
            ) from error
        if _is_out_of_space(error):
            remove_unsound(job.checkpoints_dir, job.digest)
            directory = job.checkpoints_dir.parent
            free = shutil.disk_usage(directory).free
            # The weights, and for every trained one the two moments of AdamW.
            taken = sum(
                parameter.nbytes * (3 if parameter.requires_grad else 1)
                for parameter in trainer.model.parameters()
            )
            raise TrainingError(
                f"{directory}: no disk space left at step {step}: a checkpoint takes "
                f"{taken // MIB:,} MiB, {free // MIB:,} MiB are free. Free space, or raise your "
                "quota, and resume; earlier checkpoints stay"
            ) from error
        raise


def _is_out_of_memory(error: Exception) -> bool:
    """On a CPU torch raises a plain RuntimeError, on a GPU its own OutOfMemoryError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _is_out_of_space(error: Exception) -> bool:
    """The writer of safetensors gives the number of the system's error as text.

    torch's writer gives no reason, but the named C++ file only reads and writes.
    """
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    if isinstance(error, SafetensorError):
        return any(f"(os error {number})" in str(error) for number in NO_SPACE)
    return "inline_container.cc" in str(error)
