"""Task-adaptive pretraining: the encoder learns from texts before anything looks at their labels.

Gururangan et al. (2020), "Don't Stop Pretraining"; the loss is a contrastive one, see `contrast`.
What was measured stands in ``docs/decisions/018-pretraining.md``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import polars as pl
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)

from mlrun_assets.errors import RecordError, TrainingError
from mlrun_assets.files import digest_file
from mlrun_assets.machine import quiet_transformers
from mlrun_assets.records import PretrainingRecord, Record
from mlrun_assets.training.callbacks import (
    MetricsLog,
    SealedCheckpoints,
    TrainingTime,
    newest_sound,
)
from mlrun_assets.training.fine_tuning import load_start
from mlrun_assets.training.job import FineTuningJob, PretrainingFiles, Report
from mlrun_assets.training.layers import build_optimizer, freeze
from mlrun_assets.training.progress import Progress
from mlrun_assets.training.trainer import (
    Batch,
    HaltingTrainer,
    SeededLengthGroups,
    explained,
    pretraining_not_finite,
)

SHORTEST_SPAN = 8
"""Words. A text of fewer than twice as many is paired with itself."""


class Pair(NamedTuple):
    """Two spans of the text in a row."""

    row: int
    first: str
    second: str


def draw_spans(text: str, longest: int, generator: Random) -> tuple[str, str]:
    """Two spans of ``text`` that do not overlap, of equally many words, ``longest`` at most.

    The spans of a pair stand anywhere, and in either order (Giorgi et al., 2021, "DeCLUTR"). A text
    that is too short gives itself twice: then dropout makes the difference (Gao et al., 2021,
    "SimCSE").
    """
    words = text.split()
    most = min(longest, len(words) // 2)
    if most < SHORTEST_SPAN:
        return text, text
    size = generator.randint(max(SHORTEST_SPAN, most // 2), most)
    starts = sorted(generator.randint(0, len(words) - 2 * size) for _ in range(2))
    spans = [" ".join(words[start : start + size]) for start in (starts[0], starts[1] + size)]
    generator.shuffle(spans)
    return spans[0], spans[1]


class SpanPairs(Dataset[Pair]):
    """A pair for each text. Its index says which epoch too: see `EpochsOfPairs`."""

    def __init__(self, texts: Sequence[str], longest: int, seed: int) -> None:
        self._texts, self._longest, self._seed = texts, longest, seed

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Pair:
        epoch, row = divmod(index, len(self))
        generator = Random(f"{self._seed} {epoch} {row}")  # noqa: S311 - no secret
        return Pair(row, *draw_spans(self._texts[row], self._longest, generator))

    @property
    def lengths(self) -> list[int]:
        """Words of each text, as far as its spans can hold them."""
        return [min(len(text.split()), 2 * self._longest) for text in self._texts]


class EpochsOfPairs(SeededLengthGroups):
    """Rows of like length together; in the second epoch the index of row 0 is the rows' number.

    So the pairs of a step depend on nothing but the seed and the step: a training that is taken up
    again in the middle draws those that it would have drawn.
    """

    def __iter__(self) -> Iterator[int]:
        before = self._epoch * len(self.lengths)
        return iter([before + row for row in super().__iter__()])


class PairCollator:
    """Pairs as one batch: all first spans, then all second ones."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def __call__(self, pairs: list[Pair]) -> dict[str, torch.Tensor]:
        """Ids and attention mask (2 x pairs, tokens), and the numbers of the rows (pairs)."""
        encoded = self._tokenizer(
            [pair.first for pair in pairs] + [pair.second for pair in pairs],
            truncation=True,
            max_length=self._max_length,
            padding=True,
            pad_to_multiple_of=8,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        return {**encoded, "row": torch.tensor([pair.row for pair in pairs])}


TEMPERATURE = 0.05


def info_nce(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The loss of a batch (van den Oord et al., 2018, "InfoNCE"; Gao et al., 2021).

    A span is its tokens' mean state. Of all second spans of the batch the one of its own text has
    to be the nearest to a first one, by the cosine; and the other way round.

    Args:
        states: of the tokens, shape (2 x pairs, tokens, width), all first spans before all second.
        mask: 1 for tokens, 0 for padding, shape (2 x pairs, tokens).
    """
    with torch.autocast(states.device.type, enabled=False):
        weights = mask.unsqueeze(-1).float()
        means = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
        first, second = normalize(means, dim=-1).chunk(2)
        alike = first @ second.T / TEMPERATURE
        own = torch.arange(len(first), device=alike.device)
        return (cross_entropy(alike, own) + cross_entropy(alike.T, own)) / 2


class ContrastiveTrainer(HaltingTrainer):
    """Trainer of an encoder without a head, which halts on a loss that is not finite."""

    def __init__(self, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._row_ids = row_ids
        self.batch: Batch | None = None
        self.loss_is_scaled_for_ga = False  # the loss is the mean of a batch

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The loss of a batch; it is only asked for in training."""
        rows = inputs.pop("row").tolist()
        spans, tokens = inputs["input_ids"].shape
        self.batch = Batch(spans, tokens, tuple(self._row_ids[row] for row in rows))
        loss = info_nce(model(**inputs).last_hidden_state, inputs["attention_mask"])
        self.require_finite(loss)
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochsOfPairs:
        lengths = self.train_dataset.lengths
        return EpochsOfPairs(lengths, self.args.train_batch_size, self.args.seed)

    def not_finite(self, what: str) -> TrainingError:
        step = self.state.global_step + 1
        return TrainingError(pretraining_not_finite(what, step, self.batch, self.args.bf16))


LEARNING_RATE = 5e-5
WARMUP_FRACTION = 0.1


class FinishedPretraining(Record):
    """That pretraining is done: written after its weights, with the digests of job and weights."""

    job: str
    weights: str
    done: PretrainingRecord


def pretrain(
    job: FineTuningJob, files: PretrainingFiles, report: Report = lambda _: None
) -> PretrainingRecord:
    """Adapt the encoder to the texts of ``job``; fine-tuning starts from the weights that it gives.

    All of the encoder but the embeddings of the word pieces is trained, whatever fine-tuning
    freezes. Where it was done before, nothing is done; where it was cut off, it goes on from the
    newest sound checkpoint, and ends as if it had not been. The same job on the same machine gives
    the same weights.

    Raises:
        EncoderError: the encoder can't be loaded.
        TrainingError: loss or gradient is not finite, or memory or room on the disk runs out.
    """
    finished = find_finished(job, files)
    if finished:
        report("pretraining: was done before")
        return finished.done
    time_taken = TrainingTime()
    trainer = _adapt(job, files, report, time_taken)
    losses = _losses(trainer.state.log_history, job.recipe.pretraining_epochs)
    texts = len(trainer.train_dataset)
    done = PretrainingRecord(
        texts=texts,
        pairs=texts * job.recipe.pretraining_epochs,
        epochs=job.recipe.pretraining_epochs,
        first_loss=losses[0],
        last_loss=losses[-1],
        seconds=time_taken.seconds,
    )
    finished = FinishedPretraining(job=job.digest, weights=digest_file(files.weights), done=done)
    finished.save(files.finished)
    shutil.rmtree(files.checkpoints)
    return done


def find_finished(job: FineTuningJob, files: PretrainingFiles) -> FinishedPretraining | None:
    """What is known of a pretraining that is done and whose weights are as it left them."""
    try:
        finished = FinishedPretraining.load(files.finished)
        whole = finished.job == job.digest and finished.weights == digest_file(files.weights)
    except (RecordError, FileNotFoundError):
        return None
    return finished if whole else None


def _adapt(
    job: FineTuningJob, files: PretrainingFiles, report: Report, time_taken: TrainingTime
) -> ContrastiveTrainer:
    """Train, from the newest sound checkpoint on, and write the weights."""
    own = replace(job, checkpoints_dir=files.checkpoints)
    checkpoint, _ = newest_sound(files.checkpoints, job.digest)
    if checkpoint:
        report(f"pretraining: continues from {checkpoint.name}")
        time_taken.go_on_from(checkpoint)
    else:
        shutil.rmtree(files.checkpoints, ignore_errors=True)
    progress = Progress(report, 0.0, "pretraining")
    trainer = _trainer(own, files, progress)
    trainer.add_callback(SealedCheckpoints(job.digest, time_taken))
    set_seed(job.recipe.seed)
    with quiet_transformers(), closing(progress), explained(trainer, own):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        _save(trainer.model, files.weights)
    torch.cuda.empty_cache()  # what fine-tunes may be another process
    return trainer


def _trainer(job: FineTuningJob, files: PretrainingFiles, progress: Progress) -> ContrastiveTrainer:
    # No layer that pools: the loss does it.
    recipe = job.recipe.model_copy(update={"pooling": "first"})
    set_seed(recipe.seed)
    classifier, tokenizer, _ = load_start(replace(job, recipe=recipe))
    encoder = classifier.base_model
    freeze(encoder, "embeddings")
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)  # behind the states that the loss compares
    texts = pl.concat(
        pl.read_parquet(file, columns=["id", "text"])
        for file in (job.train_file, files.unlabelled_file)
        if file
    )
    steady = {"learning_rate": LEARNING_RATE, "layerwise_decay": 1.0}
    trainer = ContrastiveTrainer(
        texts["id"].to_list(),
        model=encoder,
        args=_arguments(job, texts.height),
        # About as many words as tokens fit: half of them do, or more.
        train_dataset=SpanPairs(texts["text"].to_list(), recipe.max_length // 2, recipe.seed),
        data_collator=PairCollator(tokenizer, recipe.max_length),
        callbacks=[progress, MetricsLog(job.pretraining_metrics_file)],
        optimizers=(build_optimizer(encoder, recipe.model_copy(update=steady)), None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(job: FineTuningJob, texts: int) -> TrainingArguments:
    recipe = job.recipe
    on_cpu = not torch.cuda.is_available()
    steps = math.ceil(texts / recipe.batch_size) * recipe.pretraining_epochs
    arguments = TrainingArguments(
        output_dir=str(job.checkpoints_dir),
        per_device_train_batch_size=recipe.batch_size,
        num_train_epochs=recipe.pretraining_epochs,
        learning_rate=LEARNING_RATE,
        warmup_steps=round(WARMUP_FRACTION * steps),
        lr_scheduler_type="linear",
        seed=recipe.seed,
        bf16=recipe.bf16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        save_strategy="epoch",
        save_total_limit=None,
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # noqa: SLF001
    return arguments


def _save(encoder: PreTrainedModel, weights: Path) -> None:
    """Write what was trained: the rest is the encoder's own."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    trained = {
        name: parameter.detach().cpu()
        for name, parameter in encoder.named_parameters()
        if parameter.requires_grad
    }
    save_file(trained, weights)


def _losses(log: list[dict[str, float]], epochs: int) -> list[float]:
    """The mean loss of each epoch; an entry of the log is about all steps since the one before."""
    sums, steps, last = [0.0] * epochs, [0] * epochs, 0
    for entry in log:
        if "loss" in entry:
            epoch, covered = math.ceil(entry["epoch"]) - 1, int(entry["step"]) - last
            last = int(entry["step"])
            sums[epoch] += entry["loss"] * covered
            steps[epoch] += covered
    return [total / count for total, count in zip(sums, steps, strict=True)]
