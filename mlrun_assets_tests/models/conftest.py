"""A trained tiny classifier, and the ensemble of it and an n-gram model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.metrics import label_numbers
from mlrun_assets.models import ngrams
from mlrun_assets.training.candidates import Judged, write_model
from mlrun_assets_tests.examples import LABELS, changed, tiny_job


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The directory of a trained classifier with mean pooling, beside the files of its splits."""
    from mlrun_assets.training.fine_tuning import fine_tune

    job = changed(tiny_job(tmp_path_factory.mktemp("model") / "job", tiny_encoder), pooling="mean")
    fine_tune(job)
    return job.model_dir


@pytest.fixture(scope="session")
def tiny_ensemble(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A copy with n-grams. Both weights are set: fitted, that of the tiny encoder is zero."""
    directory = tmp_path_factory.mktemp("ensemble")
    rows = pl.read_parquet(tiny_model.parent / "train.parquet")
    add_ngrams(directory, tiny_model, rows, LABELS)
    return directory / "model"


def add_ngrams(
    directory: Path, encoder_dir: Path, rows: pl.DataFrame, labels: tuple[str, ...]
) -> None:
    """Write the ensemble of the classifier and an SVM on ``rows`` to ``model/``."""
    vectorizers, blocks = ngrams.count_ngrams(rows["text"].to_list())
    fitted = ngrams.fit(ngrams.SVM, blocks, label_numbers(rows["label"], labels), len(labels), 1)
    ngrams.save_model(fitted, vectorizers, labels, ExperimentPaths(directory).baseline_model)
    winner = Judged("encoder+ngrams", np.array([1.0, 3.0]), np.zeros((0, len(labels))))
    write_model(directory, winner, encoder_dir, labels, 32)
