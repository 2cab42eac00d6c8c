"""A job that trains the tiny encoder in a second, for tests and processes that they kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mlrun_assets.encoders import resolve_encoder
from mlrun_assets.records import Recipe
from mlrun_assets.trainer.job import FineTuningJob
from mlrun_assets_tests.conftest import sample_rows

LABELS = ("farming", "health", "sports")
RECIPE = Recipe(
    encoder="tiny",
    revision=None,
    max_length=32,
    trim_vocabulary=False,
    pooling="first",
    batch_size=8,
    learning_rate=2e-3,
    epochs=3,
    seed=1,
    warmup_fraction=0.1,
    weight_decay=0.01,
    layerwise_decay=0.9,
    label_smoothing=0.1,
    class_weights=(1.0, 1.5, 0.5),
    early_stopping_patience=0,
    bf16=False,
    freeze="none",
    group_by_length=True,
)


def tiny_job(directory: Path, encoder: Path) -> FineTuningJob:
    """Six steps an epoch, three epochs, everything below ``directory``."""
    directory.mkdir(exist_ok=True)
    for split in ("train", "val"):
        pl.DataFrame(sample_rows(split)[:48]).write_parquet(directory / f"{split}.parquet")
    return FineTuningJob(
        recipe=RECIPE,
        encoder=resolve_encoder(str(encoder), None, directory),
        labels=LABELS,
        data_digest="sha256:data",
        train_file=directory / "train.parquet",
        val_file=directory / "val.parquet",
        checkpoints_dir=directory / "checkpoints",
        logs_dir=directory / "logs",
        model_dir=directory / "model",
        report_to=("tensorboard",),
    )


def changed(job: FineTuningJob, **recipe: Any) -> FineTuningJob:
    return replace(job, recipe=job.recipe.model_copy(update=recipe))


def weights(model_dir: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(model_dir / "model.safetensors"))
