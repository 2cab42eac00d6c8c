"""A trained tiny classifier and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrun_assets_tests.examples import tiny_job


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The directory of a trained classifier with mean pooling."""
    from mlrun_assets.training.fine_tuning import fine_tune
    from mlrun_assets_tests.examples import changed

    job = changed(tiny_job(tmp_path_factory.mktemp("onnx") / "job", tiny_encoder), pooling="mean")
    fine_tune(job)
    return job.model_dir
