"""A trained tiny classifier, and the ensemble of it and an n-gram model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlrun_assets_tests.examples import changed, tiny_job


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
    from mlrun_assets.models.ngrams import add_ngrams, set_weights

    directory = tmp_path_factory.mktemp("ensemble") / "model"
    shutil.copytree(tiny_model, directory)
    splits = (tiny_model.parent / "train.parquet", tiny_model.parent / "val.parquet")
    record = add_ngrams(directory, splits, 32, seed=1)
    assert record.ngram_weight > 0
    assert record.val_f1_ensemble >= max(record.val_f1_encoder, record.val_f1_ngrams) - 0.1
    set_weights(directory, 1.0, record.ngram_weight)
    return directory
