"""Encoders and trackers that can't be used end a run before the data is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.definitions import defs
from mlrun_assets.encoders.loading import load_classifier
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.experiment import all_experiments
from mlrun_assets.records import Manifest, Status
from mlrun_assets_tests.examples import MakeProject

FIRST_STAGES = ["experiment", "validated_dataset"]


def run(config: Path, *stages: str) -> tuple[Manifest, list[str]]:
    """Run all stages, or only some; the manifest and the lines of the log."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("ml_run").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(stage) for stage in stages] or None,
            run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
            raise_on_error=False,
        )
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    return all_experiments(load_config(config).experiments_dir)[0].manifest, lines


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"max_length": 65}}, "set model.max_length to 64 or less"),
        ({"training": {"report_to": ["tensorbord"]}}, "transformers knows no tracker `tensorbord`"),
    ],
)
def test_what_can_not_be_used_ends_the_run_before_the_data_is_read(
    make_project: MakeProject, sections: dict[str, Any], message: str
) -> None:
    config = make_project(**sections)
    for file in (config.parent / "data").iterdir():
        file.write_text("no rows", encoding="utf-8")  # this error comes before that of the data
    manifest, _ = run(config)
    assert manifest.status is Status.FAILED
    assert message.casefold() in (manifest.error or "").casefold()
    assert list(manifest.stages) == FIRST_STAGES


@pytest.fixture
def make_classifier(
    make_project: MakeProject, tiny_encoder: Path, tmp_path: Path
) -> Callable[..., Path]:
    """Makes a project whose encoder has a head for some labels; returns the config file."""

    def make(labels: str, **model: Any) -> Path:
        encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
        source = EncoderSource("encoder", str(encoder), None, "directory")
        load_classifier(source, tuple(labels)).save_pretrained(encoder)
        return make_project(model={"name": "./encoder", **model})

    return make


def test_a_classifier_for_as_many_other_labels_is_only_mentioned(
    make_classifier: Callable[..., Path],
) -> None:
    manifest, lines = run(make_classifier("abc"), *FIRST_STAGES)
    assert manifest.stages["validated_dataset"].status == "done"
    assert any("is a classifier of 3 labels (a, b, c)" in line for line in lines)


def test_a_classifier_for_another_number_than_the_data_s_ends_the_run(
    make_classifier: Callable[..., Path],
) -> None:
    """Where the config does not say how many, the data does."""
    manifest, _ = run(make_classifier("abcde", num_labels=None))
    assert manifest.status is Status.FAILED
    assert "5 labels (a, b, c, d, e), and the training split gives 3" in (manifest.error or "")
    assert list(manifest.stages) == FIRST_STAGES
