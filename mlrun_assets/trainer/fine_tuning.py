"""The one trainer function: a job in, a model directory and a history out."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from datasets import Dataset
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from mlrun_assets import encoders
from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.files import sync_directory
from mlrun_assets.metrics import val_metrics
from mlrun_assets.records import VocabularyTrim
from mlrun_assets.trainer.batches import Collator, tokenised
from mlrun_assets.trainer.callbacks import MetricsLog, Progress, SealCheckpoints, epoch_history
from mlrun_assets.trainer.checkpoints import newest_sound, step_of
from mlrun_assets.trainer.circumstances import peak_memory_mb
from mlrun_assets.trainer.data_parallel import DataParallelTrainer, summed
from mlrun_assets.trainer.job import FineTuned, FineTuningJob, Report
from mlrun_assets.trainer.optimizer import build_optimizer

METRICS_FILE = "metrics.jsonl"


def fine_tune(job: FineTuningJob, report: Report = lambda _: None) -> FineTuned:
    """Fine-tune an encoder and keep the epoch with the best val macro-F1.

    Continues from the newest sound checkpoint below ``job.checkpoints_dir``; they are removed when
    the model is saved. The same job on the same machine gives the same model. Where the variables
    of torch.distributed are set, this process is one of several that call this with the same job
    and share each batch; the first of them writes.

    Raises:
        EncoderError: the encoder can't be loaded.
        TrainingError: the loss is not finite.
    """
    started = time.perf_counter()
    arguments = _arguments(job, show_bars=sys.stderr.isatty())
    set_seed(job.recipe.seed)
    model, tokenizer, trim = _load(job)
    _freeze(model, job.recipe.freeze)
    recipe = job.recipe
    with arguments.main_process_first(local=False):
        train = tokenised(job.train_file, tokenizer, job.labels, recipe.max_length)
        val = tokenised(job.val_file, tokenizer, job.labels, recipe.max_length)
        checkpoint, passed_over = newest_sound(job.checkpoints_dir, job.digest)
        if not checkpoint and arguments.should_save:
            _start_anew(job)
    for name in passed_over:
        report(f"training: {name} is not whole, or of another job, and is passed over")
    if checkpoint:
        report(f"training: continues from {checkpoint.name}")
    trainer = _trainer(job, arguments, model, tokenizer, (train, val))
    trainer.add_callback(Progress(report))
    set_seed(recipe.seed + arguments.process_index)  # dropout of its own for each process
    with quiet_transformers():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if arguments.should_save:
            _save(trainer.model, tokenizer, job.model_dir)
    history = epoch_history(trainer.state.log_history)
    trainer.accelerator.wait_for_everyone()
    if arguments.should_save:
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
    epochs = trainer.state.global_step / max(1, trainer.state.max_steps) * recipe.epochs
    resumed = step_of(checkpoint) if checkpoint else 0
    steps_an_epoch = max(1, trainer.state.max_steps // recipe.epochs)
    return FineTuned(
        history=history,
        best_epoch=max(history, key=lambda entry: entry.val_f1_macro).epoch,
        steps=trainer.state.global_step,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        resumed_from_step=resumed or None,
        passed_over=passed_over,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tokens=round(sum(train["length"]) * (epochs - resumed / steps_an_epoch)),
        seconds=time.perf_counter() - started,
        peak_memory_mb=summed(peak_memory_mb(), arguments.device),
        trim=trim,
    )


def _start_anew(job: FineTuningJob) -> None:
    """Remove what an earlier job left: its checkpoints and its curves are not this one's."""
    shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
    for log in (*job.logs_dir.glob("events.out.tfevents.*"), job.logs_dir / METRICS_FILE):
        log.unlink(missing_ok=True)


def _load(
    job: FineTuningJob,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, VocabularyTrim | None]:
    tokenizer = encoders.load_tokenizer(job.encoder)
    model = encoders.load_classifier(job.encoder, job.labels)
    if job.recipe.pooling == "mean":
        encoders.pool_by_mean(model)
    if not job.recipe.trim_vocabulary:
        return model, tokenizer, None
    train, val = (
        pl.read_parquet(file, columns=["text"])["text"].to_list()
        for file in (job.train_file, job.val_file)
    )
    trimmed, trim = encoders.trim(tokenizer, model, train, val)
    return model, trimmed, trim


def _freeze(model: PreTrainedModel, part: str) -> None:
    frozen = {
        "none": [],
        "embeddings": [model.get_input_embeddings()],
        "encoder": [model.base_model],
    }[part]
    for module in frozen:
        module.requires_grad_(False)


def _trainer(
    job: FineTuningJob,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: tuple[Dataset, Dataset],
) -> DataParallelTrainer:
    train, val = splits
    recipe = job.recipe
    callbacks: list[TrainerCallback] = [SealCheckpoints(job.digest)]
    if arguments.should_save:
        callbacks.append(MetricsLog(job.logs_dir / METRICS_FILE))
    if recipe.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(recipe.early_stopping_patience))
    trainer = DataParallelTrainer(
        recipe,
        pl.read_parquet(job.train_file, columns=["id"])["id"].to_list(),
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=val.remove_columns("row"),
        data_collator=Collator(tokenizer),
        compute_metrics=_compute_metrics,
        callbacks=callbacks,
        optimizers=(build_optimizer(model, recipe), None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(job: FineTuningJob, show_bars: bool) -> TrainingArguments:
    recipe = job.recipe
    on_cpu = not torch.cuda.is_available()
    # Without this TensorBoard's files would land beside the checkpoints and be removed with them.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.logs_dir)
    rows = pl.scan_parquet(job.train_file).select(pl.len()).collect().item()
    steps = math.ceil(rows / recipe.batch_size) * recipe.epochs
    return TrainingArguments(
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
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="f1_macro",
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        disable_tqdm=not show_bars,
        report_to=list(job.report_to),
    )


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return val_metrics(prediction.label_ids, np.argmax(prediction.predictions, axis=1))


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, model_dir: Path) -> None:
    """Write the model as transformers reads it; the directory appears when it is whole."""
    unfinished = model_dir.with_name(f".{model_dir.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(str(unfinished))
    tokenizer.save_pretrained(str(unfinished))
    if model_dir.exists():
        shutil.rmtree(model_dir)
    unfinished.rename(model_dir)
    sync_directory(model_dir.parent)
