"""What this run is told of earlier ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.decision.verdict import decide
from mlrun_assets.experiment import Experiment, create_experiment, take_directory
from mlrun_assets.records import Manifest, RunLine, Status
from mlrun_assets.runs.opening import collect_prior_runs, recipe_summary
from mlrun_assets_tests.examples import (
    checkpoint_record,
    dataset_record,
    evaluation_record,
    export_record,
    plan,
    seed_result,
)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    monkeypatch.chdir(tmp_path)
    return load_config()


@pytest.fixture
def experiment(config: LoadedConfig) -> Experiment:
    """One that was trained with three seeds and rejected."""
    directory = take_directory(config.experiments_dir, datetime(2026, 11, 23, tzinfo=UTC))
    manifest = Manifest(
        id=directory.name,
        name="first",
        original_name=None,
        report="impl-ml-run-first-20261123",
        status=Status.COMPLETE,
        created_at="2026-11-23T00:00:00Z",
    )
    made = create_experiment(directory, manifest, config)
    made.save(dataset_record({"a": 60, "b": 60}).model_copy(update={"name": "som"}))
    made.save(plan(training={"seeds": [13, 42, 87], "freeze": 2, "learning_rate": 5e-5}))
    seeds = tuple(seed_result(seed, val_f1_macro=f1) for seed, f1 in ((13, 0.7), (42, 0.9)))
    made.save(checkpoint_record(seed=42, seeds=seeds))
    evaluation = evaluation_record(accuracy=0.7, f1=0.7)
    made.save(evaluation)
    made.save(decide(evaluation, export_record(), config.settings.deployment, made.id))
    return made


def test_a_run_is_told_by_its_records(experiment: Experiment) -> None:
    (run,) = collect_prior_runs([experiment], [])
    assert (run.experiment, run.data_name) == (experiment.id, "som")
    assert run.comparable_digest == plan(training={"freeze": 2}).recipe.comparable_digest
    assert run.learning_rate == 5e-5
    assert run.val_digest == "sha256:1"
    assert run.val_f1_macro == pytest.approx(0.8)
    assert run.verdict == "REJECTED"
    assert run.verdict_reason is not None
    assert "accuracy 0.700" in run.verdict_reason
    assert run.recipe_summary is not None
    assert run.recipe_summary.endswith("learning rate 5e-05, seeds 13, 42, 87")


def test_one_seed_counts_by_its_val_score(experiment: Experiment) -> None:
    experiment.save(checkpoint_record())
    assert collect_prior_runs([experiment], [])[0].val_f1_macro == pytest.approx(0.8)
    assert recipe_summary(plan(training={"seed": 7})).endswith(", seed 7")


def test_a_run_known_by_its_line_alone_has_no_scores(experiment: Experiment) -> None:
    line = RunLine("impl-ml-run-gone-20261101", "Complete", "accuracy 0.9")
    runs = collect_prior_runs([experiment], [line])
    assert [run.report for run in runs] == [
        "impl-ml-run-first-20261123",
        "impl-ml-run-gone-20261101",
    ]
    assert runs[1].val_f1_macro is runs[1].learning_rate is None
