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
from mlrun_assets.orchestration import assets
from mlrun_assets.records import Manifest, Status
from mlrun_assets_tests.examples import MakeProject

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

pytestmark = pytest.mark.usefixtures("dagster_home")


def run(config: Path) -> Manifest:
    defs.resolve_job_def("ml_run").execute_in_process(
        run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
        raise_on_error=False,
    )
    return all_experiments(load_config(config).experiments_dir)[0].manifest


def with_a_pickle(encoder: Path) -> None:
    (encoder / "model.safetensors").rename(encoder / "pytorch_model.bin")


def with_a_head(labels: str) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        source = EncoderSource(encoder.name, str(encoder), None, "directory")
        load_classifier(source, tuple(labels)).save_pretrained(encoder)

    return change


def unchanged(encoder: Path) -> None:
    assert encoder.is_dir()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (with_a_pickle, {}, "is a pickle"),
        (with_a_head("abcde"), {}, "model.num_labels gives 3"),
        (unchanged, {"max_length": 65}, "set model.max_length to 64 or less"),
    ],
)
def test_an_encoder_that_can_not_be_used_ends_the_run_before_the_data_is_read(
    make_project: MakeProject,
    tiny_encoder: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    settings: dict[str, Any],
    message: str,
) -> None:
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    change(encoder)
    config = make_project(model={"name": "./encoder", **settings})
    shutil.rmtree(config.parent / "data")  # the encoder's error comes before that of the data
    manifest = run(config)
    assert manifest.status is Status.FAILED
    assert message.casefold() in (manifest.error or "").casefold()
    assert set(manifest.stages) == {"experiment", "validated_dataset"}


def test_a_classifier_for_as_many_other_labels_is_only_mentioned(
    make_project: MakeProject, tiny_encoder: Path, tmp_path: Path
) -> None:
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    with_a_head("abc")(encoder)
    config = make_project(model={"name": "./encoder"})
    instance = dg.DagsterInstance.get()
    result = dg.materialize(
        [*assets.stages, *assets.raw_splits],
        selection=dg.AssetSelection.from_string('+key:"validated_dataset"'),
        resources=defs.resources,
        run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
        instance=instance,
    )
    assert result.success
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert [line for line in lines if "is a classifier of 3 labels (a, b, c)" in line]


def test_a_classifier_for_another_number_than_the_data_s_ends_the_run(
    make_project: MakeProject, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Where the config does not say how many, the data does."""
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    with_a_head("abcde")(encoder)
    manifest = run(make_project(model={"name": "./encoder", "num_labels": None}))
    assert manifest.status is Status.FAILED
    assert "5 labels (a, b, c, d, e), and the training split gives 3" in (manifest.error or "")
    assert set(manifest.stages) == {"experiment", "validated_dataset"}


def test_another_number_of_labels_than_configured_blocks(make_project: MakeProject) -> None:
    manifest = run(make_project(model={"num_labels": 4}))
    assert manifest.status is Status.BLOCKED
    assert "model.num_labels is 4" in (manifest.error or "")
    assert "trained_checkpoint" not in manifest.stages


def test_an_unknown_tracker_ends_the_run_before_the_data_is_read(
    make_project: MakeProject,
) -> None:
    config = make_project(training={"report_to": ["tensorbord"]})
    shutil.rmtree(config.parent / "data")
    manifest = run(config)
    assert manifest.status is Status.FAILED
    assert "transformers knows no tracker `tensorbord`" in (manifest.error or "")
