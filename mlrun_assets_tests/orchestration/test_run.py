"""Whole runs with the tiny encoder, as Dagster executes them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.definitions import defs
from mlrun_assets.experiment import Experiment, all_experiments
from mlrun_assets.models import probe
from mlrun_assets.orchestration import assets
from mlrun_assets.production.prediction import label_sources
from mlrun_assets.production.versions import model_dir_of
from mlrun_assets.records import (
    SPLITS,
    CheckpointRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    ProductionRecord,
    Status,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets_tests.examples import (
    MakeProject,
    answer_here,
    answer_in_a_fork,
    write_project,
    write_rows,
)

pytestmark = pytest.mark.slow


def execute(config: Path, name: str | None = None) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("ml_run").execute_in_process(
        run_config={
            "ops": {"experiment": {"config": {"name": name} if name else {}}},
            "resources": {"ml_run": {"config": {"config_file": str(config)}}},
        },
        raise_on_error=False,
    )


def rows_of(config: Path, split: str) -> list[dict[str, str]]:
    lines = (config.parent / f"data/{split}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def latest(config: Path) -> Experiment:
    return all_experiments(load_config(config).experiments_dir)[0]


class TwoRuns(NamedTuple):
    """Two runs of one name on the same data, both deployed; the first has an ONNX form."""

    config: Path
    first: Experiment
    second: Experiment


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> TwoRuns:
    """Read only: a test that changes something works on a copy."""
    # The characters of patterns have no meaning in the name of a directory.
    home = tmp_path_factory.mktemp("two-runs") / "a [b] *?"
    deployment = {"auto_deploy": True, "policy": "no_worse"}
    sections: dict[str, Any] = {"rows": 120, "model": {"candidates": "auto"}}
    config = write_project(home, tiny_encoder, deployment={**deployment, "onnx": True}, **sections)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "start_early", lambda: None)
        patch.setattr(probe, "_probe", answer_in_a_fork)
        assert execute(config, "xlm-r-fine-tune-v2").success
        first = latest(config)
        write_project(home, tiny_encoder, deployment=deployment, **sections)
        patch.setattr(probe, "_probe", answer_here)
        assert execute(config, "xlm-r-fine-tune-v2").success
    return TwoRuns(config, first, latest(config))


def test_a_run_goes_from_data_to_report(two_runs: TwoRuns) -> None:
    experiment, reports = two_runs.first, two_runs.config.parent / ".claude" / "reports"
    manifest = experiment.manifest
    assert manifest.status is Status.COMPLETE
    assert re.fullmatch(r"exp_\d{8}T\d{6}Z", manifest.id)
    assert set(manifest.stages) == {each.key.to_user_string() for each in assets.stages}
    assert all(stage.status == "done" for stage in manifest.stages.values())
    assert "| train | 120 = 120 + 0 |" in experiment.paths.datasheet.read_text()
    lines = (reports / "_registry.md").read_text().splitlines()
    (own,) = [line for line in lines if f"- {manifest.report} |" in line]
    assert re.fullmatch(
        r"- impl-ml-run-xlm-r-fine-tune-v2-\d{8} \| Complete \| accuracy 0\.\d{3}, .*deployed", own
    )
    report = reports / "implementation" / f"{manifest.report}.md"
    assert experiment.load(DecisionRecord).verdict in report.read_text().splitlines()[2]
    for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report.read_text()):
        assert (report.parent / link).stat().st_size > 1000
    assert not experiment.paths.checkpoints.exists()


def test_an_approved_model_is_deployed_with_its_onnx_form(two_runs: TwoRuns) -> None:
    production = two_runs.config.parent / "production"
    assert two_runs.first.load(ProductionRecord).moved
    model = model_dir_of(production, two_runs.first.id)
    assert (model / "model.safetensors").is_file() and (model / "onnx" / "model.onnx").is_file()
    assert two_runs.first.load(ExportRecord).onnx is not None
    assert "| ONNX |" in two_runs.first.paths.report.read_text()
    assert (production / "current" / "model.safetensors").is_file()


@pytest.mark.usefixtures("probed_in_forks")
def test_n_grams_alone_are_a_model_that_is_deployed_and_answers(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "model": {"candidates": ["ngrams"]},
        "data": {"predict_path": "data/test.jsonl"},
        "deployment": {"auto_deploy": True},
    }
    config = write_project(tmp_path, tiny_encoder, rows=200, **sections)
    assert execute(config).success
    run = latest(config)
    trained = run.load(CheckpointRecord)
    assert (trained.chosen, trained.fine_tuning) == ("ngrams", None)
    assert run.load(ExportRecord).agreement == 1.0
    assert not run.paths.frozen.exists() and not run.paths.encoder.exists()
    answered = label_sources(load_config(config), lambda _: None)
    lines = (config.parent / "production" / answered.file).read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    right = [
        answer["label"] == row["label"]
        for answer, row in zip(answers, rows_of(config, "test"), strict=True)
    ]
    assert sum(right) / len(right) == run.load(EvaluationRecord).test.accuracy.value > 0.6


def test_a_second_run_knows_the_first_and_gives_the_same_model(two_runs: TwoRuns) -> None:
    first, second = two_runs.first, two_runs.second
    report = first.manifest.report
    assert second.manifest.report == second_name(second, report)
    known = second.load(ExperimentRecord)
    assert [run.report for run in known.prior_runs] == [report]
    assert known.best_run == report
    scores, again = first.load(EvaluationRecord), second.load(EvaluationRecord)
    assert (again.test, again.val) == (scores.test, scores.val)
    trained = [run.load(CheckpointRecord) for run in (first, second)]
    assert trained[0].candidates == trained[1].candidates
    histories = [record.fine_tuning and record.fine_tuning.history for record in trained]
    assert histories[0] == histories[1]
    assert again.production is not None and again.production.comparable
    assert again.production.only_challenger_right == again.production.only_other_right == 0
    # The same model on the same test split is the same look at it.
    assert [each.test_looks.looks for each in (scores, again)] == [1, 1]
    debt = second.load(TechDebtRecord)
    assert debt.numbers("repeated") and not debt.numbers("new")


def second_name(run: Experiment, first: str) -> str:
    """The report's name of the second run of a day; its own, if midnight lies between."""
    day = run.manifest.created_at[:10].replace("-", "")
    return f"{first}-2" if first.endswith(day) else f"{first.rpartition('-')[0]}-{day}"


@pytest.mark.usefixtures("probed_here")
def test_an_earlier_experiment_is_evaluated_again_by_its_id(
    two_runs: TwoRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(probe, "start_early")  # nothing is exported
    home = shutil.copytree(two_runs.config.parent, tmp_path / "copy", symlinks=True)
    config = home / "ml_config.yaml"
    second, first = all_experiments(load_config(config).experiments_dir)
    evaluation = second.paths.record(EvaluationRecord.asset)
    before = evaluation.stat().st_mtime_ns
    resource = {"config_file": str(config), "experiment_id": first.id}
    result = dg.materialize(
        [*assets.stages, assets.raw_files],
        selection=dg.AssetSelection.from_string('key:"evaluation_metrics"+'),
        resources=defs.resources,
        run_config={"resources": {"ml_run": {"config": resource}}},
    )
    assert result.success
    assert result.run_id in first.manifest.run_ids
    assert first.manifest.status is Status.COMPLETE
    assert result.run_id not in second.manifest.run_ids
    assert evaluation.stat().st_mtime_ns == before


@pytest.mark.usefixtures("probed_here")
def test_several_seeds_and_a_second_run_that_reuses_them(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(probe, "start_early", lambda: started.append(True))
    config = make_project(training={"seeds": [13, 42], "reuse": True, "epochs": 1})
    assert execute(config).success
    first = latest(config)
    checkpoint, scores = first.load(CheckpointRecord), first.load(EvaluationRecord)
    assert [seed.seed for seed in scores.seeds] == [13, 42]
    assert checkpoint.fine_tuning
    kept = next(seed for seed in scores.seeds if seed.seed == checkpoint.fine_tuning.seed)
    assert kept.f1_macro == pytest.approx(scores.test.f1_macro.value)
    assert scores.over_seeds is not None
    registry = (config.parent / ".claude/reports/_registry.md").read_text()
    assert re.search(r"± 0\.\d{3} over 2 seeds\)", registry)
    assert "| mean ± sd |" in first.paths.report.read_text()

    assert execute(config).success
    assert started == [True, True]
    second = latest(config)
    assert second.load(TrainingPlan).seen_before
    reused = second.load(CheckpointRecord)
    assert reused == checkpoint.model_copy(update={"reused_from": first.id})
    assert second.load(EvaluationRecord).seeds == scores.seeds
    assert f"the checkpoint of `{first.id}` is reused" in second.paths.report.read_text()


@pytest.mark.usefixtures("probed_here")
def test_a_label_with_one_training_row_trains_if_its_check_is_skipped(
    make_project: MakeProject,
) -> None:
    skipped = ["split_drift", "every_label_in_every_split"]
    config = make_project(
        training={"epochs": 1},
        data={"quality": {"skip": skipped}},
        model={"candidates": "auto"},
    )
    rows = rows_of(config, "train")
    one = next(row for row in rows if row["label"] == "health")
    kept = [one, *(row for row in rows if row["label"] != "health")]
    write_rows(config.parent / "data/train.jsonl", kept)
    assert execute(config).success
    assert latest(config).load(CheckpointRecord).fine_tuning is None
    assert "rarest label has 1 training row" in latest(config).paths.report.read_text()


def test_bad_data_blocks_with_a_reason(make_project: MakeProject) -> None:
    config = make_project()
    write_rows(config.parent / "data/test.jsonl", rows_of(config, "train")[:30])
    result = execute(config, "leaky")
    materialized = {
        event.asset_key.to_user_string() for event in result.get_asset_materialization_events()
    }
    assert materialized == {"experiment", "validated_dataset"}
    seen = {event.asset_key.to_user_string() for event in result.get_asset_observation_events()}
    assert seen == {f"raw_{split}" for split in SPLITS}
    manifest = latest(config).manifest
    assert manifest.status is Status.BLOCKED
    assert "30 rows of test with a text of train" in (manifest.error or "")
    reports = config.parent / ".claude" / "reports"
    assert f"- {manifest.report} | Blocked | " in (reports / "_registry.md").read_text()
    assert "Data check split_leakage blocks" in (reports / "_tech-debt.md").read_text()
    assert (reports / "implementation" / f"{manifest.report}.md").exists()
    failure = next(event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert "split_leakage" in error.message and not error.stack


def ml_run() -> dg.JobDefinition:
    return defs.resolve_job_def("ml_run")


@pytest.mark.usefixtures("probed_here")
def test_re_execution_from_failure_continues_in_the_same_experiment(
    make_project: MakeProject, dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.training.trainer import FineTuningTrainer

    config = make_project()
    steps = []
    real = FineTuningTrainer.training_step

    def stops_in_the_second_epoch(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            raise OSError(5, "Input/output error", "disk")
        return real(*arguments)

    instance = dg.DagsterInstance.get()
    with monkeypatch.context() as patched:
        patched.setattr(FineTuningTrainer, "training_step", stops_in_the_second_epoch)
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
    tuned = experiment.load(CheckpointRecord).fine_tuning
    assert tuned and tuned.resumed_from_step == 4
    registry = (config.parent / ".claude/reports/_registry.md").read_text()
    assert registry.count(after.report) == 1
    assert f"- {after.report} | Complete | accuracy" in registry


@pytest.mark.usefixtures("probed_in_forks")
def test_an_ensemble_of_seeds_is_exported_deployed_and_compared_with_the_next(
    make_project: MakeProject,
) -> None:
    config = make_project(
        model={"candidates": ["encoder+ngrams"]},
        training={"seeds": [1, 2], "epochs": 1},
        deployment={"auto_deploy": True},
    )
    assert execute(config, "first").success
    experiment = latest(config)
    checkpoint = experiment.load(CheckpointRecord)
    assert checkpoint.fine_tuning and len(checkpoint.fine_tuning.seeds) == 2
    assert experiment.load(ExportRecord).agreement == 1.0
    assert (config.parent / "production/current/ngrams/model.json").is_file()
    assert checkpoint.chosen == "encoder+ngrams"
    assert len(experiment.load(EvaluationRecord).seeds) == 2

    assert execute(config, "second").success
    comparison = latest(config).load(EvaluationRecord).production
    assert comparison is not None and comparison.f1_difference is not None
    assert comparison.comparable and comparison.f1_difference.value == 0.0
