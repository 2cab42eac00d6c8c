"""Whole runs with the tiny encoder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.definitions import defs
from mlrun_assets.experiment import Experiment, all_experiments
from mlrun_assets.records import (
    CheckpointRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    ProductionRecord,
    Status,
    TechDebtRecord,
    TrainingPlan,
    Verdict,
)
from mlrun_assets_tests.examples import MakeProject, write_rows

pytestmark = pytest.mark.usefixtures("dagster_home")


def execute(
    config: Path, name: str | None = None, instance: dg.DagsterInstance | None = None, **more: Any
) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("ml_run").execute_in_process(
        run_config={
            "ops": {"experiment": {"config": {"name": name} if name else {}}},
            "resources": {"ml_run": {"config": {"config_file": str(config), **more}}},
        },
        instance=instance,
        raise_on_error=False,
    )


def latest(config: Path) -> Experiment:
    return all_experiments(load_config(config).experiments_dir)[0]


def test_a_run_from_data_to_report_and_a_second_one(make_project: MakeProject) -> None:
    deployment = {"auto_deploy": True, "policy": "no_worse", "onnx": True}
    config = make_project(deployment=deployment)
    reports = config.parent / ".claude" / "reports"
    first = execute(config, "xlm-r-fine-tune-v2")
    assert first.success
    experiment = latest(config)
    manifest = experiment.manifest
    assert manifest.status is Status.COMPLETE
    assert re.fullmatch(r"exp_\d{8}T\d{6}Z", manifest.id)
    assert set(manifest.stages) == {each.key.to_user_string() for each in _stages()}
    assert all(stage.status == "done" for stage in manifest.stages.values())
    assert "| train | 60 = 60 + 0 |" in (experiment.directory / "data/datasheet.md").read_text()
    lines = (reports / "_registry.md").read_text().splitlines()
    own = [line for line in lines if manifest.report in line]
    assert len(own) == 1
    assert re.fullmatch(
        r"- impl-ml-run-xlm-r-fine-tune-v2-\d{8} \| Complete \| accuracy 0\.\d{3}, .*deployed",
        own[0],
    )
    report = reports / "implementation" / f"{manifest.report}.md"
    assert experiment.load(DecisionRecord).verdict in report.read_text().splitlines()[2]
    for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report.read_text()):
        assert (report.parent / link).stat().st_size > 1000
    assert (config.parent / "production" / "current" / "model.safetensors").exists()
    assert (config.parent / "production" / "current" / "onnx" / "model.onnx").exists()
    kept = experiment.load(ExportRecord).kept_onnx
    assert kept is not None and f"ONNX {kept.precision}" in report.read_text()
    assert not (experiment.directory / "checkpoints").exists()

    make_project(deployment={**deployment, "onnx": False})
    second = execute(config, "xlm-r-fine-tune-v2")
    assert second.success
    again = latest(config)
    assert again.manifest.report == second_name(again, manifest.report)
    known = again.load(ExperimentRecord)
    assert [run.report for run in known.prior_runs] == [manifest.report]
    assert known.best_run == manifest.report
    comparison = again.load(EvaluationRecord).production
    assert comparison is not None and comparison.comparable
    # The same seed, data and recipe: the same model, so not one row differs.
    assert comparison.only_challenger_right == comparison.only_other_right == 0
    # The same model on the same test split is the same look at it.
    uses = [each.load(EvaluationRecord).test_looks for each in (experiment, again)]
    assert [use.looks for use in uses if use] == [1, 1]
    debt = again.load(TechDebtRecord)
    assert debt.numbers("repeated")
    assert not debt.numbers("new")


def second_name(run: Experiment, first: str) -> str:
    """The name of the second report of a name and a day; its own, where midnight lies between."""
    day = run.manifest.created_at[:10].replace("-", "")
    return f"{first}-2" if first.endswith(day) else f"{first.rpartition('-')[0]}-{day}"


def test_the_same_run_twice_gives_the_same_metrics(make_project: MakeProject) -> None:
    config = make_project()
    scores = []
    for _ in range(2):
        assert execute(config).success
        record = latest(config).load(EvaluationRecord)
        history = latest(config).load(CheckpointRecord).history
        scores.append((record.test, record.val, [entry.val_loss for entry in history]))
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_several_seeds_and_a_second_run_that_reuses_them(make_project: MakeProject) -> None:
    config = make_project(training={"seeds": [13, 42], "reuse": True, "epochs": 1})
    assert execute(config).success
    first = latest(config)
    checkpoint, scores = first.load(CheckpointRecord), first.load(EvaluationRecord)
    assert [seed.seed for seed in scores.seeds] == [13, 42]
    kept = next(seed for seed in scores.seeds if seed.seed == checkpoint.seed)
    assert kept.f1_macro == pytest.approx(scores.test.f1_macro.value)
    assert scores.over_seeds is not None
    reports = config.parent / ".claude" / "reports"
    assert re.search(r"± 0\.\d{3} over 2 seeds\)", (reports / "_registry.md").read_text())
    assert "| mean ± sd |" in (first.directory / "report.md").read_text()

    assert execute(config).success
    second = latest(config)
    assert second.load(TrainingPlan).seen_before
    reused = second.load(CheckpointRecord)
    assert reused == checkpoint.model_copy(update={"reused_from": first.id})
    assert second.load(EvaluationRecord).seeds == scores.seeds
    assert (
        f"the checkpoint of `{first.id}` is reused" in (second.directory / "report.md").read_text()
    )


@pytest.mark.slow
def test_a_label_with_one_training_row_trains_where_nobody_asks(make_project: MakeProject) -> None:
    skipped = ["split_drift", "every_label_in_every_split"]
    config = make_project(training={"epochs": 1}, data={"quality": {"skip": skipped}})
    file = config.parent / "data/train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    one = next(row for row in rows if row["label"] == "health")
    write_rows(file, [one, *(row for row in rows if row["label"] != "health")])
    assert execute(config).success
    plan = latest(config).load(TrainingPlan)
    assert plan.recipe.freeze == "encoder"
    assert "The rarest label has 1 training row. One row can't be learned from" in (
        latest(config).directory / "report.md"
    ).read_text().replace("\\", "")


def test_more_layers_than_the_encoder_has_are_told_before_training(
    make_project: MakeProject,
) -> None:
    config = make_project(training={"freeze": 3})
    assert not execute(config).success
    error = latest(config).manifest.error or ""
    assert error.startswith("training_plan: training.freeze is 3, and ")
    assert "has 2 layers: set it to 2 or less" in error


def test_a_rejected_model_is_a_result(make_project: MakeProject) -> None:
    config = make_project(deployment={"min_accuracy": 1.0, "auto_deploy": True})
    result = execute(config)
    assert result.success
    experiment = latest(config)
    assert experiment.manifest.status is Status.COMPLETE
    decision = experiment.load(DecisionRecord)
    assert decision.verdict is Verdict.REJECTED
    assert not experiment.load(ProductionRecord).moved
    assert not (config.parent / "production" / "current").exists()
    failed = {
        check.check_name: check.severity
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert failed["min_accuracy"] is dg.AssetCheckSeverity.ERROR
    open_items = (config.parent / ".claude/reports/_tech-debt.md").read_text()
    assert "Test accuracy is below deployment.min_accuracy" in open_items


def test_bad_data_blocks_and_says_why(make_project: MakeProject) -> None:
    config = make_project()
    rows = [
        json.loads(line) for line in (config.parent / "data/train.jsonl").read_text().splitlines()
    ]
    write_rows(config.parent / "data/test.jsonl", rows[:30])
    result = execute(config, "leaky")
    assert not result.success
    materialized = {
        event.asset_key.to_user_string() for event in result.get_asset_materialization_events()
    }
    assert materialized == {"experiment", "validated_dataset"}
    experiment = latest(config)
    manifest = experiment.manifest
    assert manifest.status is Status.BLOCKED
    assert "30 rows of test share their text with train" in (manifest.error or "")
    reports = config.parent / ".claude" / "reports"
    assert f"- {manifest.report} | Blocked | " in (reports / "_registry.md").read_text()
    assert "Data check split_leakage blocks" in (reports / "_tech-debt.md").read_text()
    assert (reports / "implementation" / f"{manifest.report}.md").exists()
    failure = next(event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error is not None
    assert "split_leakage" in error.message
    assert not error.stack


def test_missing_data_fails_with_one_message(make_project: MakeProject) -> None:
    config = make_project()
    (config.parent / "data/val.jsonl").unlink()
    assert not execute(config).success
    manifest = latest(config).manifest
    assert manifest.status is Status.FAILED
    assert "data.val_path" in (manifest.error or "")
    assert "no such file" in (manifest.error or "")


def test_an_earlier_experiment_is_evaluated_again_by_its_id(make_project: MakeProject) -> None:
    config = make_project()
    instance = dg.DagsterInstance.get()
    assert execute(config, "one", instance).success
    one = latest(config)
    assert execute(config, "two", instance).success
    before = (latest(config).directory / "records/evaluation_metrics.json").stat().st_mtime_ns
    result = dg.materialize(
        [*_stages(), *_raw()],
        selection=dg.AssetSelection.from_string('key:"evaluation_metrics"+'),
        resources=defs.resources,
        run_config={
            "resources": {
                "ml_run": {"config": {"config_file": str(config), "experiment_id": one.id}}
            }
        },
        instance=instance,
    )
    assert result.success
    assert result.run_id in one.manifest.run_ids
    assert one.manifest.status is Status.COMPLETE
    assert result.run_id not in latest(config).manifest.run_ids
    assert (
        latest(config).directory / "records/evaluation_metrics.json"
    ).stat().st_mtime_ns == before


def ml_run() -> dg.JobDefinition:
    return defs.resolve_job_def("ml_run")


def test_re_execution_from_failure_goes_on_in_the_same_experiment(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.training.trainer import WeightedTrainer

    config = make_project()
    steps = []
    real = WeightedTrainer.training_step

    def stops_in_the_second_epoch(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            raise OSError(5, "Input/output error", "disk")
        return real(*arguments)

    instance = dg.DagsterInstance.get()
    with monkeypatch.context() as patched:
        patched.setattr(WeightedTrainer, "training_step", stops_in_the_second_epoch)
        failed = dg.execute_job(
            dg.reconstructable(ml_run),
            instance,
            run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
        )
    assert not failed.success
    experiment = latest(config)
    before = experiment.manifest
    assert before.status is Status.FAILED
    again = dg.execute_job(
        dg.reconstructable(ml_run),
        instance,
        reexecution_options=dg.ReexecutionOptions.from_failure(failed.run_id, instance),
    )
    assert again.success
    assert latest(config) == experiment
    after = experiment.manifest
    assert after.status is Status.COMPLETE
    assert after.run_ids == (failed.run_id, again.run_id)
    assert after.stages["validated_dataset"] == before.stages["validated_dataset"]
    assert experiment.load(CheckpointRecord).resumed_from_step == 4
    registry = (config.parent / ".claude/reports/_registry.md").read_text()
    assert registry.count(after.report) == 1
    assert f"- {after.report} | Complete | accuracy" in registry


def _stages() -> list[dg.AssetsDefinition]:
    from mlrun_assets.orchestration import assets

    return assets.stages


def _raw() -> list[dg.AssetSpec]:
    from mlrun_assets.orchestration import assets

    return assets.raw_splits


@pytest.mark.slow
def test_an_ensemble_of_seeds_is_exported_served_and_held_against_the_next(
    make_project: MakeProject,
) -> None:
    config = make_project(
        model={"ensemble": True},
        training={"seeds": [1, 2], "epochs": 1},
        deployment={"auto_deploy": True},
    )
    assert execute(config, "first").success
    experiment = latest(config)
    checkpoint = experiment.load(CheckpointRecord)
    assert checkpoint.ensemble is not None
    assert len(checkpoint.seeds) == 2
    export = experiment.load(ExportRecord)
    assert export.agreement == 1.0
    serving = config.parent / "production" / "current"
    assert (serving / "ngrams" / "model.json").is_file()
    report = (experiment.directory / "report.md").read_text()
    assert checkpoint.ensemble.ngram_model in report

    assert execute(config, "second").success
    comparison = latest(config).load(EvaluationRecord).production
    assert comparison is not None
    assert comparison.comparable
    assert comparison.f1_difference is not None
    assert comparison.f1_difference.value == 0.0
