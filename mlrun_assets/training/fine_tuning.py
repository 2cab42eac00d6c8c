"""The one trainer function: a job in, a model directory and a history out."""

from __future__ import annotations

import math
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from datasets import Dataset
from safetensors.torch import load_file, load_model
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from mlrun_assets.encoders.loading import load_classifier, load_tokenizer, pool_by_mean
from mlrun_assets.encoders.trimming import trim
from mlrun_assets.files import new_directory
from mlrun_assets.machine import peak_memory_mb, quiet_transformers
from mlrun_assets.metrics import val_metrics
from mlrun_assets.models.predictor import drop_no_attention, tune_for_cpu
from mlrun_assets.records import VocabularyTrim
from mlrun_assets.training.callbacks import (
    STATE,
    MetricsLog,
    SealedCheckpoints,
    TrainingTime,
    best_of,
    epoch_history,
    is_last,
    newest_sound,
    step_of,
)
from mlrun_assets.training.job import FineTuned, FineTuningJob, Report
from mlrun_assets.training.layers import build_optimizer, freeze
from mlrun_assets.training.progress import (
    TENSORBOARD,
    Progress,
    TrainingCurves,
    resolve_trackers,
    runs_that_end,
)
from mlrun_assets.training.trainer import (
    Collator,
    DataParallelTrainer,
    explained,
    summed,
    tokenised,
)


def load_start(
    job: FineTuningJob, adapted: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, VocabularyTrim | None]:
    """The classifier that ``job`` starts from, its tokenizer, and what trimming did.

    Args:
        job: what is to be trained. The vocabulary keeps what its unlabelled texts use too.
        adapted: weights of the encoder that take the place of its own, by their names in it.

    Raises:
        EncoderError: the encoder can't be loaded.
    """
    tokenizer = load_tokenizer(job.encoder)
    model = load_classifier(job.encoder, job.labels)
    if adapted:
        model.base_model.load_state_dict(load_file(adapted), strict=False)
    if job.recipe.pooling == "mean":
        pool_by_mean(model)
    if not job.recipe.attention_dropout:
        drop_no_attention(model)
    if not torch.cuda.is_available():
        tune_for_cpu(model, job.recipe.bf16)
    trimmed = None
    if job.recipe.trim_vocabulary:
        seen = texts_of(job.train_file)
        if job.pretraining and job.pretraining.unlabelled_file:
            seen += texts_of(job.pretraining.unlabelled_file)
        tokenizer, trimmed = trim(tokenizer, model, seen, texts_of(job.val_file))
    _leave_the_file(model)
    return model, tokenizer, trimmed


def _leave_the_file(model: PreTrainedModel) -> None:
    """Copy the weights into memory of their own.

    Loaded weights are views into the encoder's file. While one is left, all of the file that was
    touched counts as memory, rows of the vocabulary that were trimmed away included, and a file
    that someone cuts short would end the training.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def texts_of(file: Path) -> list[str]:
    """The column ``text`` of a Parquet file."""
    return pl.read_parquet(file, columns=["text"])["text"].to_list()


def fine_tune(job: FineTuningJob, report: Report = lambda _: None) -> FineTuned:
    """Fine-tune an encoder and keep the epoch with the best val macro-F1.

    Continues from the newest sound checkpoint below ``job.checkpoints_dir``. They stay, so that a
    job that is asked for again after its end gives its model at once: whoever keeps the result
    removes them. The same job on the same machine gives the same model. Where the variables of
    torch.distributed are set, this process is one of several that call this with the same job and
    share each batch; the first of them writes.

    Raises:
        EncoderError: the encoder can't be loaded.
        TrainingError: a tracker is not there, loss or gradient is not finite, or memory or room on
            the disk runs out.
    """
    time_taken = TrainingTime()
    job = replace(job, report_to=resolve_trackers(job.report_to))
    arguments = _arguments(job)
    set_seed(job.recipe.seed)
    adapted = job.pretraining.weights if job.pretraining else None
    model, tokenizer, trim = load_start(job, adapted)
    freeze(model, job.recipe.freeze)
    recipe = job.recipe
    with arguments.main_process_first(local=False):
        train = tokenised(job.train_file, tokenizer, job.labels, recipe.max_length)
        val = tokenised(job.val_file, tokenizer, job.labels, recipe.max_length)
        checkpoint, passed_over = _last_attempt(job, report)
    if checkpoint:
        time_taken.go_on_from(checkpoint)
    had_ended = checkpoint is not None and is_last(checkpoint)
    progress = Progress(report, len(val) / len(train))
    trainer = _trainer(job, arguments, model, tokenizer, (train, val))
    trainer.add_callback(progress)
    trainer.add_callback(SealedCheckpoints(job.digest, time_taken))
    set_seed(recipe.seed + arguments.process_index)  # dropout of its own for each process
    with quiet_transformers(), closing(progress), runs_that_end(), explained(trainer, job):
        _train(trainer, checkpoint)
        if arguments.should_save:
            _save(trainer.model, tokenizer, job.model_dir)
    trainer.accelerator.wait_for_everyone()
    history = epoch_history(trainer.state.log_history)
    epochs = trainer.state.global_step / max(1, trainer.state.max_steps) * recipe.epochs
    return FineTuned(
        history=history,
        best_epoch=max(history, key=lambda entry: entry.val_f1_macro).epoch,
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        resumed_from_step=step_of(checkpoint) if checkpoint else None,
        passed_over=passed_over,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tokens=round(sum(train["length"]) * epochs),
        seconds=(had_ended and time_taken.earlier) or time_taken.seconds,
        peak_memory_mb=summed(peak_memory_mb(), arguments.device),
        trim=trim,
    )


def _last_attempt(job: FineTuningJob, report: Report) -> tuple[Path | None, tuple[str, ...]]:
    """The checkpoint to go on from, and the names of those passed over.

    Where there is none, what an earlier job left is removed: its checkpoints and its curves are not
    this one's.
    """
    checkpoint, passed_over = newest_sound(job.checkpoints_dir, job.digest)
    for name in passed_over:
        report(
            f"training: {name} is not whole, lacks its best epoch or is of another job, and is "
            "passed over"
        )
    if checkpoint:
        report(f"training: continues from {checkpoint.name}")
    else:
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
        for curves in job.logs_dir.glob("events.out.tfevents.*"):
            curves.unlink()
    return checkpoint, passed_over


def _train(trainer: DataParallelTrainer, checkpoint: Path | None) -> None:
    """Train to the end; where an earlier attempt had come to it, take up the epoch it keeps."""
    if checkpoint and is_last(checkpoint):
        trainer.state = TrainerState.load_from_json(str(checkpoint / STATE))
        load_model(trainer.model, str(best_of(checkpoint) / SAFE_WEIGHTS_NAME))
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _trainer(
    job: FineTuningJob,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: tuple[Dataset, Dataset],
) -> DataParallelTrainer:
    train, val = splits
    recipe = job.recipe
    trainer = DataParallelTrainer(
        recipe,
        pl.read_parquet(job.train_file, columns=["id"])["id"].to_list(),
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=val.remove_columns("row"),
        data_collator=Collator(tokenizer),
        compute_metrics=_compute_metrics,
        callbacks=_callbacks(job),
        optimizers=(build_optimizer(model, recipe), None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _callbacks(job: FineTuningJob) -> list[TrainerCallback]:
    """What keeps the scores and the weights of a training, and may stop it early."""
    callbacks: list[TrainerCallback] = [MetricsLog(job.metrics_file)]
    if TENSORBOARD in job.report_to:
        callbacks.append(TrainingCurves(job.logs_dir))
    if job.recipe.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(job.recipe.early_stopping_patience))
    return callbacks


def _arguments(job: FineTuningJob) -> TrainingArguments:
    recipe = job.recipe
    on_cpu = not torch.cuda.is_available()
    rows = pl.scan_parquet(job.train_file).select(pl.len()).collect().item()
    steps = math.ceil(rows / recipe.batch_size) * recipe.epochs
    arguments = TrainingArguments(
        output_dir=str(job.checkpoints_dir),
        # Of the whole batch: each process computes a part of it.
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size * 2,
        accelerator_config={"split_batches": True},
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=round(recipe.warmup_fraction * steps),
        lr_scheduler_type="linear",
        seed=recipe.seed,
        bf16=recipe.bf16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        train_sampling_strategy="group_by_length" if recipe.group_by_length else "random",
        remove_unused_columns=False,
        label_names=["labels"],
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=None,  # the sealed ones are thinned out, never the last that is whole
        restore_callback_states_from_checkpoint=True,  # how patient early stopping still is
        load_best_model_at_end=True,
        metric_for_best_model="f1_macro",
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[name for name in job.report_to if name != TENSORBOARD],
        run_name=job.name,
    )
    if arguments.n_gpu > 1:
        # Else the Trainer would give each GPU a whole batch: torchrun is what uses several.
        arguments._n_gpu = 1  # noqa: SLF001
    return arguments


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return val_metrics(prediction.label_ids, np.argmax(prediction.predictions, axis=1))


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, model_dir: Path) -> None:
    """Write the model as transformers reads it; the directory appears when it is whole."""
    with new_directory(model_dir, replace=True) as directory:
        model.save_pretrained(str(directory))
        tokenizer.save_pretrained(str(directory))
