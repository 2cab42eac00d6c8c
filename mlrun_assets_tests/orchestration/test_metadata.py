"""What the UI shows beside an asset."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.experiment import Experiment
from mlrun_assets.markdown import visible
from mlrun_assets.orchestration.checks import quality_results
from mlrun_assets.orchestration.metadata import (
    dataset_metadata,
    evaluation_metadata,
    plan_metadata,
    predictions_metadata,
)
from mlrun_assets.records import SPLITS, PredictionsRecord
from mlrun_assets_tests.examples import POISON, full_run, poisoned

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
    assert shown["leaking_test_rows"] == 4
    assert shown["calibration_error"] == known.calibration.error
    assert shown["calibration_error_by_chance"] == known.calibration.chance.mean
    assert shown["brier"] == known.calibration.brier
    assert "calibration error" in shown["calibration"].value
    first = known.slices[0]
    assert f"| {first.column} | {first.value} | {first.rows} |" in shown["slices"].value
    assert "| label or slice |" in shown["recall_by_part"].value
    assert shown["label_next"] == experiment.directory / "records/label_next.jsonl"
    assert f"{known.label_next.rows} of" in shown["label_next_why"].value
    assert isinstance(shown["coverage_picture"], dg.MarkdownMetadataValue)


def test_a_dataset_shows_its_rows_and_the_columns_of_its_files(experiment: Experiment) -> None:
    assert RUN.dataset
    experiment.paths.data.mkdir()
    frame = pl.DataFrame({"id": ["1"], "text": ["a"], "label": ["b"], "extra_source": ["c"]})
    frame.write_parquet(experiment.paths.split("train"))
    data = DataConfig(text_columns=("head", "body"), slice_columns=("source",))
    shown = dataset_metadata(RUN.dataset, experiment, data)
    for name, split in RUN.dataset.splits.items():
        assert shown[f"{name}_rows"] == split.rows_kept
    assert shown["dagster/row_count"] == RUN.dataset.rows
    columns = shown["dagster/column_schema"].columns
    assert [column.name for column in columns] == frame.columns
    lineage = shown["dagster/column_lineage"].deps_by_column
    assert set(lineage) == {"text", "label", "extra_source"}
    assert {dep.column_name for dep in lineage["text"]} == {"head", "body"}


def test_a_sentence_comes_first_and_a_table_last(experiment: Experiment) -> None:
    assert RUN.evaluation
    shown = evaluation_metadata(RUN.evaluation, experiment)
    names = list(shown)
    assert names[:2] == ["summary", "f1_macro"] and names[-1] == "details"
    assert "|" not in shown["summary"].value and "|" in shown["details"].value


def test_no_string_of_the_data_controls_what_the_page_shows(experiment: Experiment) -> None:
    bad = poisoned(RUN)
    assert bad.dataset and bad.plan
    names = dict(zip(SPLITS, bad.dataset.splits.values(), strict=True))
    dataset = bad.dataset.model_copy(update={"splits": names})
    labels = {f"a{POISON}": 1}
    numbers = {"rows": 1, "rows_skipped": 0, "label_rows": labels, "seconds": 1}
    labelled = PredictionsRecord(version="v", file="f", rows_per_second=1, **numbers)
    shown = dataset_metadata(dataset, experiment, DataConfig()) | plan_metadata(bad.plan)
    shown |= predictions_metadata(labelled, experiment.directory)
    texts = [str(value) for value in shown.values() if not isinstance(value, Path)]
    texts += [*shown, *(str(result.description) for result in quality_results(dataset))]
    assert [text for text in texts if visible(text) != text or "\\x1b" in text] == []


def test_an_evaluation_without_options_shows_what_it_has(experiment: Experiment) -> None:
    known = RUN.evaluation
    assert known
    changes = {
        "label_next": known.label_next.model_copy(update={"rows": 0}),
        "slices": (),
        "production": None,
        "baseline": known.baseline.model_copy(update={"labels": (), "slices": ()}),
    }
    shown = evaluation_metadata(known.model_copy(update=changes), experiment)
    assert "accuracy" in shown
    assert not {"label_next", "slices", "recall_by_part"} & set(shown)
