"""What the UI shows beside an asset."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlrun_assets.experiment_store import MANIFEST, Experiment
from mlrun_assets.orchestration.metadata import dataset_metadata, evaluation_metadata
from mlrun_assets_tests.reporting.conftest import checkpoint, dataset, evaluation, full_run


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    found = Experiment(tmp_path / "exp_20261123T031500Z")
    full_run().manifest.save(found.directory / MANIFEST)
    found.save(checkpoint())
    return found


def test_an_evaluation_shows_calibration_parts_and_what_to_label(experiment: Experiment) -> None:
    known = evaluation()
    clean = known.test.model_copy(update={"rows": known.test.rows - 4})
    shown = evaluation_metadata(known.model_copy(update={"test_without_leaks": clean}), experiment)
    numbers = {name: each.value for name, each in shown.items()}
    assert numbers["leaking_test_rows"] == 4
    assert (numbers["calibration_error"], numbers["calibration_error_scaled"]) == (0.061, 0.034)
    assert (numbers["temperature"], numbers["brier"], numbers["brier_scaled"]) == (
        1.62,
        0.241,
        0.229,
    )
    assert numbers["calibration_error_by_chance"] == 0.057
    assert "When it says 98 %" in str(numbers["calibration"])
    assert "| length | short | 52 |" in str(numbers["slices"])
    assert "| length: short | 52 | 0.808 | 0.904 |" in str(numbers["recall_by_part"])
    assert numbers["label_next"] == str(experiment.directory / "records/label_next.jsonl")
    assert "41 of 148 val rows" in str(numbers["label_next_why"])
    assert isinstance(shown["reliability_picture"], dg.MarkdownMetadataValue)


def test_a_dataset_shows_its_rows_and_the_size_of_its_files(experiment: Experiment) -> None:
    shown = dataset_metadata(dataset(), experiment)
    sizes = {name: each.value for name, each in shown.items()}
    assert (sizes["train_rows"], sizes["train_bytes"]) == (1019, 1019 * 900)
    assert (sizes["test_rows"], sizes["test_bytes"]) == (154, 154 * 900)


def test_an_evaluation_of_before_shows_what_it_has(experiment: Experiment) -> None:
    bare = {"calibration": None, "label_next": None, "label_next_file": None, "slices": ()}
    known = evaluation().model_copy(update={**bare, "production": None})
    shown = evaluation_metadata(known, experiment)
    assert "accuracy" in shown
    absent = {"temperature", "label_next", "slices", "recall_by_part", "reliability_picture"}
    assert not absent & set(shown)
