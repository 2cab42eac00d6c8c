"""Task-adaptive pretraining: the encoder learns from texts before anything looks at their labels.

Gururangan et al. (2020), "Don't Stop Pretraining"; the loss is a contrastive one, see `contrast`.
What was measured stands in ``docs/decisions/018-pretraining.md``.
"""

from __future__ import annotations

import math
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PrinterCallback, TrainingArguments, set_seed

from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.errors import RecordError
from mlrun_assets.files import digest_file
from mlrun_assets.records import PretrainingRecord, Record
from mlrun_assets.trainer.callbacks import MetricsLog, SealedCheckpoints
from mlrun_assets.trainer.checkpoints import newest_sound
from mlrun_assets.trainer.contrast import ContrastiveTrainer
from mlrun_assets.trainer.failures import explained
from mlrun_assets.trainer.freezing import freeze
from mlrun_assets.trainer.job import FineTuningJob, PretrainingFiles, Report
from mlrun_assets.trainer.optimizer import build_optimizer
from mlrun_assets.trainer.progress import Progress
from mlrun_assets.trainer.span_pairs import PairCollator, SpanPairs
from mlrun_assets.trainer.starting_model import load_start
from mlrun_assets.trainer.training_time import TrainingTime

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
