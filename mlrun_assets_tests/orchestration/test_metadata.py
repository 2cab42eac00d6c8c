"""What the UI shows beside an asset."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlrun_assets.experiment import Experiment
from mlrun_assets.orchestration.metadata import dataset_metadata, evaluation_metadata
from mlrun_assets_tests.examples import full_run

RUN = full_run()


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    found = Experiment(tmp_path / "exp_20261123T031500Z")
    RUN.manifest.save(found.paths.manifest)
    assert RUN.checkpoint
    found.save(RUN.checkpoint)
    return found


def test_an_evaluation_shows_calibration_parts_and_what_to_label(experiment: Experiment) -> None:
    known = RUN.evaluation
    assert known and known.calibration and known.calibration.chance and known.label_next
    clean = known.test.model_copy(update={"rows": known.test.rows - 4})
    shown = evaluation_metadata(known.model_copy(update={"test_without_leaks": clean}), experiment)
    values = {name: each.value for name, each in shown.items()}
    assert values["leaking_test_rows"] == 4
    assert values["calibration_error"] == known.calibration.error
    assert values["calibration_error_scaled"] == known.calibration.error_scaled
    assert values["calibration_error_by_chance"] == known.calibration.chance.mean
    assert values["temperature"] == known.calibration.temperature
    assert (values["brier"], values["brier_scaled"]) == (
        known.calibration.brier,
        known.calibration.brier_scaled,
    )
    assert "calibration error" in str(values["calibration"])
    first = known.slices[0]
    assert f"| {first.column} | {first.value} | {first.rows} |" in str(values["slices"])
    assert "| label or slice |" in str(values["recall_by_part"])
    assert values["label_next"] == str(experiment.directory / "records/label_next.jsonl")
    assert f"{known.label_next.rows} of" in str(values["label_next_why"])
    assert isinstance(shown["reliability_picture"], dg.MarkdownMetadataValue)


def test_a_dataset_shows_its_rows_and_the_size_of_its_files(experiment: Experiment) -> None:
    assert RUN.dataset
    shown = dataset_metadata(RUN.dataset, experiment)
    for name, split in RUN.dataset.splits.items():
        assert shown[f"{name}_rows"].value == split.rows_kept
        assert shown[f"{name}_bytes"].value == split.source_bytes


def test_an_evaluation_without_options_shows_what_it_has(experiment: Experiment) -> None:
    assert RUN.evaluation
    bare = {
        "label_next": RUN.evaluation.label_next.model_copy(update={"rows": 0}),
        "slices": (),
        "production": None,
    }
    baseline = RUN.evaluation.baseline.model_copy(update={"labels": (), "slices": ()})
    known = RUN.evaluation.model_copy(update={**bare, "baseline": baseline})
    shown = evaluation_metadata(known, experiment)
    assert "accuracy" in shown
    absent = {"label_next", "slices", "recall_by_part"}
    assert not absent & set(shown)
