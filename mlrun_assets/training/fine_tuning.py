"""The trainer function: a job in, a model directory and a history out."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from datasets import Dataset
from safetensors.torch import load_model
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from mlrun_assets.encoders.directory import remove_code
from mlrun_assets.encoders.loading import load_classifier, load_tokenizer, pool_by_mean
from mlrun_assets.encoders.trimming import trim
from mlrun_assets.errors import TrainingError
from mlrun_assets.files import new_directory
from mlrun_assets.machine import peak_memory_mb, quiet_transformers
from mlrun_assets.metrics import val_metrics
from mlrun_assets.models.predictor import drop_no_attention, tune_for_cpu
from mlrun_assets.records import SHORT_TEXT_TOKENS, Recipe, VocabularyTrim
from mlrun_assets.training.checkpoints import (
    STATE_FILE,
    SealedCheckpoints,
    TrainingTime,
    is_last,
    newest_sound,
    step_of,
)
from mlrun_assets.training.job import FineTuningJob, FineTuningResult
from mlrun_assets.training.progress import (
    TENSORBOARD,
    MetricsLog,
    Progress,
    TrainingCurves,
    close_curves,
    epoch_history,
    finish_wandb_run,
    resolve_trackers,
)
from mlrun_assets.training.trainer import (
    FineTuningTrainer,
    SingleGpuArguments,
    collate,
    explain_errors,
    tokenize_split,
)
from mlrun_assets.types import ProgressCallback


def fine_tune(job: FineTuningJob, progress: ProgressCallback = lambda _: None) -> FineTuningResult:
    """Fine-tune an encoder; the last epoch is kept.

    On few val rows, the best score of several epochs is high partly by chance. On nine sets the
    last epoch was better, and its val score stays a fair one (docs/decisions/020).

    Continues from the newest sound checkpoint below ``job.checkpoints_dir``. The checkpoints stay,
    so that a finished job that is run again returns its model at once; the caller removes them. The
    same job on the same machine gives the same model. If the variables of torch.distributed are
    set, this process is one of several that call this with the same job and share every batch; the
    first of them writes.

    Raises:
        EncoderError: the encoder can't be loaded.
        TrainingError: a tracker is missing, loss or gradient is not finite, or memory or disk space
            runs out.
    """
    time_taken = TrainingTime()
    job = replace(job, report_to=resolve_trackers(job.report_to))
    recipe, arguments = job.recipe, _arguments(job)
    set_seed(recipe.seed)
    model, tokenizer, trimmed = load_initial_model(job)
    freeze(model, recipe.freeze)
    with arguments.main_process_first(local=False):
        train = tokenize_split(job.train_file, tokenizer, job.labels, recipe.max_length)
        val = tokenize_split(job.val_file, tokenizer, job.labels, recipe.max_length)
        checkpoint, passed_over = _find_checkpoint(job, progress)
    if checkpoint:
        time_taken.continue_from(checkpoint)
    had_ended = checkpoint is not None and is_last(checkpoint)
    progress_bar = Progress(progress)
    trainer = _trainer(job, arguments, model, tokenizer, (train, val))
    trainer.add_callback(progress_bar)
    sealed_checkpoints = SealedCheckpoints(job.digest, time_taken)
    trainer.add_callback(sealed_checkpoints)
    set_seed(recipe.seed + arguments.process_index)  # every process draws its own dropout
    with (
        quiet_transformers(),
        closing(progress_bar),
        finish_wandb_run(),
        close_curves(trainer),
        explain_errors(trainer, job),
        closing(sealed_checkpoints),
    ):
        if checkpoint and had_ended:  # only its weights are left to load
            trainer.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
            load_model(trainer.model, str(checkpoint / SAFE_WEIGHTS_NAME))
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if arguments.should_save:
            save_model(trainer.model, tokenizer, job.model_dir)
    trainer.accelerator.wait_for_everyone()
    lengths = np.array(train["length"])
    short = np.minimum(lengths, SHORT_TEXT_TOKENS)
    whole_epochs = recipe.epochs - recipe.short_epochs
    peak = torch.tensor(peak_memory_mb(), device=arguments.device)
    return FineTuningResult(
        history=epoch_history(trainer.state.log_history),
        steps=trainer.state.global_step,
        resumed_from_step=step_of(checkpoint) if checkpoint else None,
        passed_over=passed_over,
        tokens=int(recipe.short_epochs * short.sum() + whole_epochs * lengths.sum()),
        seconds=(had_ended and time_taken.earlier) or time_taken.seconds,
        peak_memory_mb=float(trainer.accelerator.reduce(peak)),
        trim=trimmed,
    )


def _arguments(job: FineTuningJob) -> TrainingArguments:
    recipe = job.recipe
    on_cpu = not torch.cuda.is_available()
    rows = pl.scan_parquet(job.train_file, glob=False).select(pl.len()).collect().item()
    steps = math.ceil(rows / recipe.batch_size) * recipe.epochs
    return SingleGpuArguments(
        output_dir=str(job.checkpoints_dir),
        # Rows of the whole batch: `split_batches` divides them if several processes train.
        per_device_train_batch_size=recipe.batch_size,
        accelerator_config={"split_batches": True},
        per_device_eval_batch_size=recipe.batch_size * 2,
        num_train_epochs=recipe.epochs,
        warmup_steps=round(recipe.warmup_fraction * steps),
        lr_scheduler_type="linear",
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        train_sampling_strategy="group_by_length" if recipe.group_by_length else "random",
        label_names=["labels"],
        remove_unused_columns=False,
        seed=recipe.seed,
        bf16=recipe.bf16,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        save_strategy="epoch",
        save_total_limit=None,  # `SealedCheckpoints` removes old ones, never the last sound one
        eval_strategy="epoch",
        logging_strategy="steps",
        logging_steps=max(1, steps // 100),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[name for name in job.report_to if name != TENSORBOARD],
        run_name=job.name,
    )


def load_initial_model(
    job: FineTuningJob, more_texts: Sequence[str] = ()
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, VocabularyTrim | None]:
    """The classifier that ``job`` starts from, its tokenizer, and the record of the trimming.

    The vocabulary is trimmed to the texts of train and to ``more_texts``.

    Raises:
        EncoderError: the encoder can't be loaded.
    """
    tokenizer = load_tokenizer(job.encoder)
    model = load_classifier(job.encoder, job.labels)
    if job.recipe.pooling == "mean":
        pool_by_mean(model)
    if not job.recipe.attention_dropout:
        drop_no_attention(model)
    if not torch.cuda.is_available():
        tune_for_cpu(model, job.recipe.bf16)
    trimmed = None
    if job.recipe.trim_vocabulary:
        seen, val = [*_texts(job.train_file), *more_texts], _texts(job.val_file)
        tokenizer, trimmed = trim(tokenizer, model, seen, val)
    # Loaded weights are views into the encoder's file. While one of them exists, all pages of the
    # file that were read count as memory, also those of vocabulary rows that were trimmed, and
    # training would crash if the file were truncated.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model, tokenizer, trimmed


def _texts(file: Path) -> list[str]:
    return pl.read_parquet(file, glob=False, columns=["text"])["text"].to_list()


def _find_checkpoint(
    job: FineTuningJob, progress: ProgressCallback
) -> tuple[Path | None, tuple[str, ...]]:
    """The checkpoint to continue from, and the names of those passed over.

    Without one, the checkpoints and curves of an earlier job are removed.
    """
    checkpoint, passed_over = newest_sound(job.checkpoints_dir, job.digest)
    for name in passed_over:
        progress(f"training: {name} is incomplete or belongs to another job; it is passed over")
    if checkpoint:
        progress(f"training: continues from {checkpoint.name}")
    else:
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
        for curves in job.logs_dir.glob("events.out.tfevents.*"):
            curves.unlink()
    return checkpoint, passed_over


def _trainer(
    job: FineTuningJob,
    arguments: TrainingArguments,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    splits: tuple[Dataset, Dataset],
) -> FineTuningTrainer:
    train, val = splits
    callbacks: list[TrainerCallback] = [MetricsLog(job.logs_dir / "metrics.jsonl")]
    if TENSORBOARD in job.report_to:
        callbacks.append(TrainingCurves(job.logs_dir))
    return FineTuningTrainer(
        job.recipe,
        pl.read_parquet(job.train_file, glob=False, columns=["id"])["id"].to_list(),
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=val.remove_columns("row"),
        data_collator=partial(collate, tokenizer=tokenizer),
        compute_metrics=_compute_metrics,
        callbacks=callbacks,
        optimizers=(build_optimizer(model, job.recipe), None),
    )


def _compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return val_metrics(prediction.label_ids, np.argmax(prediction.predictions, axis=1))


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, model_dir: Path) -> None:
    """Write the model as transformers reads it; the directory appears when it is complete."""
    with quiet_transformers(), new_directory(model_dir, replace=True) as directory:
        model.save_pretrained(str(directory))
        tokenizer.save_pretrained(str(directory))
        remove_code(directory)


# Learning rates by layer, and frozen layers

LAYER_NAME = re.compile(r"\.layers?\.(\d+)\.")
# Modules outside the layers that the lowest layer, or every layer, reads. Full names per model
# type: `encoder.LayerNorm` is the norm of DeBERTa's relative positions, but the last norm before
# the head in other models.
BELOW_LAYERS = {
    "albert": ("encoder.embedding_hidden_mapping_in",),
    "convbert": ("embeddings_project",),
    "deberta": ("encoder.rel_embeddings", "encoder.LayerNorm"),
    "deberta-v2": ("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
    "electra": ("embeddings_project",),
    "mpnet": ("encoder.relative_attention_bias",),
    "rembert": ("encoder.embedding_hidden_mapping_in",),
}


def build_optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trained parameters.

    The learning rate of a layer is that of the layer above it times ``layerwise_decay``; the head
    has the full rate and the embeddings the smallest (Howard and Ruder, 2018; Zhang et al., 2021).
    Biases and norms have no weight decay. The bias of the moments is corrected: without it
    fine-tuning on few rows is unstable (Mosbach et al., 2021).
    """
    depth = int(getattr(model.config, "num_hidden_layers", 0))
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= 2
            layer = _layer(model, name)
            distance = 0 if layer is None else depth - layer
            groups.setdefault((distance, decayed), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * recipe.layerwise_decay**distance,
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for (distance, decayed), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


def freeze(model: PreTrainedModel, part: str | int) -> None:
    """Exclude ``part`` of a classifier from training.

    It is ``none``, ``embeddings`` (of the word pieces), ``encoder`` (all but the head), or the
    number of the lowest layers, which are frozen together with all embeddings, also those of
    relative positions, which every layer reads.

    Raises:
        TrainingError: the encoder has fewer layers with names of their own.
    """
    if part == "embeddings":
        model.get_input_embeddings().requires_grad_(False)
    elif part == "encoder":
        model.base_model.requires_grad_(False)
    elif isinstance(part, int):
        layers = set()
        for name, parameter in model.named_parameters():
            layer = _layer(model, name)
            layers.add(layer)
            if layer is not None and layer < part:
                parameter.requires_grad_(False)
        found = len(layers - {None, -1})
        if found < part:
            raise TrainingError(
                f"training.freeze is {part}, and the {model.config.model_type} encoder has {found} "
                f"layers with weights of their own: set it to {found} or less, or to `encoder`"
            )


def _layer(model: PreTrainedModel, name: str) -> int | None:
    """The layer of a parameter, from 0; -1 if it feeds the first or every layer; else None."""
    if layer := LAYER_NAME.search(name):
        return int(layer[1])
    modules = ("embeddings", *BELOW_LAYERS.get(model.config.model_type, ()))
    below = tuple(f"{model.base_model_prefix}.{module}." for module in modules)
    return -1 if name.startswith(below) else None
