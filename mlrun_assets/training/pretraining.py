"""Contrastive pretraining on unlabelled texts before fine-tuning; optional.

Gururangan et al. (2020), "Don't Stop Pretraining", with the contrastive loss of `info_nce`. The
measurements are in ``docs/decisions/018-pretraining.md``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import polars as pl
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from mlrun_assets.files import digest_file
from mlrun_assets.machine import quiet_transformers
from mlrun_assets.records import PretrainingRecord
from mlrun_assets.training.checkpoints import SealedCheckpoints, TrainingTime, newest_sound
from mlrun_assets.training.fine_tuning import load_initial_model
from mlrun_assets.training.job import (
    FineTuningJob,
    FinishedPretraining,
    PretrainingFiles,
    find_finished,
)
from mlrun_assets.training.layers import build_optimizer, freeze
from mlrun_assets.training.progress import MetricsLog, Progress, epoch_losses
from mlrun_assets.training.trainer import (
    HaltingTrainer,
    SeededLengthGroups,
    explain_errors,
    training_arguments,
)
from mlrun_assets.types import ProgressCallback

LEARNING_RATE = 5e-5
WARMUP_FRACTION = 0.1
TEMPERATURE = 0.05
# Words of the shortest span; a text with fewer than two of them is paired with itself.
MIN_SPAN_WORDS = 8


def pretrain(
    job: FineTuningJob, files: PretrainingFiles, progress: ProgressCallback = lambda _: None
) -> PretrainingRecord:
    """Adapt the encoder to the texts of ``job``; fine-tuning starts from the written weights.

    The whole encoder except the word embeddings is trained, whatever fine-tuning freezes. A
    finished pretraining is not repeated; an interrupted one continues from the newest sound
    checkpoint, with the same result. The same job on the same machine gives the same weights.

    Raises:
        EncoderError: the encoder can't be loaded.
        TrainingError: loss or gradient is not finite, or memory or disk space runs out.
    """
    finished = find_finished(FinishedPretraining, job, files.finished, files.weights)
    if finished:
        progress("pretraining: was done before")
        return finished.result
    time_taken = TrainingTime()
    job = replace(job, checkpoints_dir=files.directory / "checkpoints")
    checkpoint, _ = newest_sound(job.checkpoints_dir, job.digest)
    if checkpoint:
        progress(f"pretraining: continues from {checkpoint.name}")
        time_taken.continue_from(checkpoint)
    else:
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
    progress_bar = Progress(progress, "pretraining")
    trainer = _trainer(job, files)
    trainer.add_callback(progress_bar)
    trainer.add_callback(MetricsLog(job.logs_dir / "pretraining.jsonl"))
    trainer.add_callback(SealedCheckpoints(job.digest, time_taken))
    set_seed(job.recipe.seed)
    with quiet_transformers(), closing(progress_bar), explain_errors(trainer, job):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        _save(trainer.model, files.weights)
    losses = list(epoch_losses(trainer.state.log_history).values())
    epochs, texts = job.recipe.pretraining_epochs, len(trainer.train_dataset)
    record = PretrainingRecord(
        texts=texts,
        pairs=texts * epochs,
        epochs=epochs,
        first_loss=losses[0],
        last_loss=losses[-1],
        seconds=time_taken.seconds,
    )
    output = digest_file(files.weights)
    FinishedPretraining(job=job.digest, output=output, result=record).save(files.finished)
    shutil.rmtree(job.checkpoints_dir)
    torch.cuda.empty_cache()  # fine-tuning may run in another process
    return record


def _trainer(job: FineTuningJob, files: PretrainingFiles) -> ContrastiveTrainer:
    # No pooling layer: the loss pools.
    recipe = job.recipe.model_copy(update={"pooling": "first"})
    set_seed(recipe.seed)
    classifier, tokenizer, _ = load_initial_model(replace(job, recipe=recipe))
    encoder = classifier.base_model
    freeze(encoder, "embeddings")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)  # it follows the states that the loss compares
    texts = pl.concat(
        pl.read_parquet(file, glob=False, columns=["id", "text"])
        for file in (job.train_file, files.unlabelled_file)
        if file
    )
    steady = {"learning_rate": LEARNING_RATE, "layerwise_decay": 1.0}
    return ContrastiveTrainer(
        texts["id"].to_list(),
        model=encoder,
        args=training_arguments(
            job,
            rows=texts.height,
            epochs=recipe.pretraining_epochs,
            warmup_fraction=WARMUP_FRACTION,
            learning_rate=LEARNING_RATE,
            report_to=[],
        ),
        # About half of `max_length` words fit into `max_length` tokens.
        train_dataset=SpanPairs(texts["text"].to_list(), recipe.max_length // 2, recipe.seed),
        data_collator=partial(collate_pairs, tokenizer=tokenizer, max_length=recipe.max_length),
        optimizers=(build_optimizer(encoder, recipe.model_copy(update=steady)), None),
    )


def _save(encoder: PreTrainedModel, weights: Path) -> None:
    """Write the trained weights; the other weights are the encoder's own."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    named = encoder.named_parameters()
    save_file({name: each.detach().cpu() for name, each in named if each.requires_grad}, weights)


class ContrastiveTrainer(HaltingTrainer):
    """Trainer of an encoder without a head, which never evaluates."""

    message = (
        "the {what} of the pretraining is {where}: look at these texts, or {bf16}set "
        "training.pretraining_epochs to 0, in a new run"
    )
    message_on_bf16 = "set training.bf16 to false, or "

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any
    ) -> torch.Tensor:
        """The contrastive loss of a batch."""
        self.note_batch(inputs)
        loss = info_nce(model(**inputs).last_hidden_state, inputs["attention_mask"])
        self.require_finite(loss)
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochsOfPairs:
        lengths = self.train_dataset.lengths
        return EpochsOfPairs(lengths, self.args.train_batch_size, self.args.seed)


def info_nce(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The loss of a batch (van den Oord et al., 2018, "InfoNCE"; Gao et al., 2021).

    A span is the mean state of its tokens. Among all second spans of the batch the one of the same
    text has to be the nearest to a first span by cosine, and the other way round. ``states`` have
    the shape (2 x pairs, tokens, width), all first spans before all second ones; ``mask`` (2 x
    pairs, tokens) is 1 for tokens and 0 for padding.
    """
    with torch.autocast(states.device.type, enabled=False):
        weights = mask.unsqueeze(-1).float()
        means = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
        first, second = normalize(means, dim=-1).chunk(2)
        similarity = first @ second.T / TEMPERATURE
        own = torch.arange(len(first), device=similarity.device)
        return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2


# Pairs of spans


# The number of a row, and two spans of its text.
Pair: TypeAlias = tuple[int, str, str]


def draw_spans(text: str, longest: int, generator: Random) -> tuple[str, str]:
    """Two spans of ``text`` that do not overlap, of the same length, at most ``longest`` words.

    The spans are anywhere in the text and in either order (Giorgi et al., 2021, "DeCLUTR"). A text
    that is too short is paired with itself; then only dropout differs (Gao et al., 2021, "SimCSE").
    """
    words = text.split()
    most = min(longest, len(words) // 2)
    if most < MIN_SPAN_WORDS:
        return text, text
    size = generator.randint(max(MIN_SPAN_WORDS, most // 2), most)
    starts = sorted(generator.randint(0, len(words) - 2 * size) for _ in range(2))
    spans = [" ".join(words[start : start + size]) for start in (starts[0], starts[1] + size)]
    generator.shuffle(spans)
    return spans[0], spans[1]


class SpanPairs(Dataset[Pair]):
    """One pair per text; the index also encodes the epoch, see `EpochsOfPairs`."""

    def __init__(self, texts: Sequence[str], longest: int, seed: int) -> None:
        self._texts, self._longest, self._seed = texts, longest, seed

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Pair:
        epoch, row = divmod(index, len(self))
        generator = Random(f"{self._seed} {epoch} {row}")  # noqa: S311 - no secret
        return row, *draw_spans(self._texts[row], self._longest, generator)

    @property
    def lengths(self) -> list[int]:
        """Words per text, at most two spans of them."""
        return [min(len(text.split()), 2 * self._longest) for text in self._texts]


class EpochsOfPairs(SeededLengthGroups):
    """Rows of similar length together; the index is ``epoch x rows + row``.

    So the pairs of a step depend on seed and step only, and a training that resumes in the middle
    of an epoch draws the same ones.
    """

    def __iter__(self) -> Iterator[int]:
        before = self._epoch * len(self.lengths)
        return iter([before + row for row in super().__iter__()])


def collate_pairs(
    pairs: list[Pair], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, torch.Tensor]:
    """Pairs as one batch, all first spans before all second ones, with the numbers of the rows.

    Ids and attention mask have the shape (2 x pairs, tokens), the numbers (pairs).
    """
    rows, first, second = zip(*pairs, strict=True)
    encoded = tokenizer(
        [*first, *second],
        truncation=True,
        max_length=max_length,
        padding=True,
        pad_to_multiple_of=8,
        return_token_type_ids=False,
        return_tensors="pt",
    )
    return {**encoded, "row": torch.tensor(rows)}
