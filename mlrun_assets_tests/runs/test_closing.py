"""The report, registry line and tech debt at the end of a run."""

from __future__ import annotations

import pytest

from mlrun_assets.config import DeploymentConfig, LoadedConfig, load_config
from mlrun_assets.decision.verdict import RULES, decide
from mlrun_assets.errors import RecordError
from mlrun_assets.experiment import Experiment, is_locked, unlock_experiment
from mlrun_assets.records import ProductionRecord, RegistryRecord, StageRun, Status
from mlrun_assets.runs import MADE_FROM, REPORT, closing
from mlrun_assets.runs.closing import complete_experiment, register_run, run_summary
from mlrun_assets.runs.opening import open_experiment, sweep_abandoned
from mlrun_assets.runs.stage import Stage, run_stage
from mlrun_assets_tests.examples import (
    MakeProject,
    checkpoint_record,
    evaluation_record,
    export_record,
    plan,
)


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def stage_of(experiment: Experiment, config: LoadedConfig, run_id: str = "run-1") -> Stage:
    return Stage(experiment, config, run_id, lambda _: None)


def registered(experiment: Experiment, config: LoadedConfig) -> str:
    registry = (config.reports_dir / "_registry.md").read_text()
    (line,) = (each for each in registry.splitlines() if experiment.manifest.report in each)
    return line.split(" | ", 1)[1]


def closed(experiment: Experiment, config: LoadedConfig) -> tuple[Status, str]:
    """Status and report of an experiment that is closed everywhere."""
    manifest = experiment.manifest
    report = config.reports_dir / "implementation" / f"{manifest.report}.md"
    assert report.with_suffix(".html").exists()
    assert registered(experiment, config).startswith(f"{manifest.status} | ")
    assert not is_locked(experiment.directory)
    return manifest.status, report.read_text()


def test_a_report_alone_completes_nothing(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with (
        pytest.raises(RecordError, match="validated_dataset, training_plan"),
        run_stage(stage_of(experiment, config), "deployment_report"),
    ):
        complete_experiment(experiment, config, "run-1")
    assert closed(experiment, config)[0] is Status.FAILED


def decided(config: LoadedConfig) -> Experiment:
    """An experiment whose stages before the report are done."""
    experiment = open_experiment(config, "x", "run-1")
    stage = stage_of(experiment, config)
    evaluation, rules = evaluation_record(accuracy=0.5), DeploymentConfig()
    experiment.save(evaluation)
    experiment.save(plan(training={"epochs": 3}))
    experiment.save(decide(evaluation, export_record(), rules, experiment.id))
    experiment.save(ProductionRecord(moved=False, sentence="stays", before=None, after=None))
    experiment.update(
        stages={name: StageRun(status="done") for name in MADE_FROM if name != REPORT}
    )
    with run_stage(stage, "experiment_registry"):
        stage.save(register_run(experiment, config))
    return experiment


def test_the_summary_names_the_model(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    experiment.save(checkpoint_record())
    assert run_summary(experiment, config, "disk full") == "model encoder+ngrams, disk full"


def test_the_registry_shows_complete_once_the_report_is_written(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = decided(config)

    def killed(*_: object) -> None:
        assert registered(experiment, config).startswith("Running | accuracy ")
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(closing, "write_report", killed)
        with pytest.raises(MemoryError):
            complete_experiment(experiment, config, "run-1")
    assert experiment.manifest.status is Status.RUNNING
    for run_id in ("run-1", "run-2"):  # the report alone can be made again
        with run_stage(stage_of(experiment, config, run_id), "deployment_report"):
            assert registered(experiment, config).startswith("Running | ")
            complete_experiment(experiment, config, run_id)
        assert closed(experiment, config)[0] is Status.COMPLETE
        assert registered(experiment, config).startswith("Complete | accuracy ")
        assert experiment.load(RegistryRecord).line.endswith(registered(experiment, config))


def test_a_report_that_can_not_be_written_is_in_the_line_until_it_is(config: LoadedConfig) -> None:
    experiment = decided(config)
    page = config.reports_dir / "implementation" / f"{experiment.manifest.report}.html"
    page.mkdir(parents=True)
    stage = stage_of(experiment, config)
    with pytest.raises(IsADirectoryError), run_stage(stage, "deployment_report"):
        complete_experiment(experiment, config, "run-1")
    assert registered(experiment, config).startswith("Failed | accuracy ")
    page.rmdir()
    with run_stage(stage_of(experiment, config, "run-2"), "deployment_report"):
        complete_experiment(experiment, config, "run-2")
    assert closed(experiment, config)[0] is Status.COMPLETE


def test_a_run_that_is_killed_before_its_report_is_closed_by_the_next_one(
    config: LoadedConfig,
) -> None:
    experiment = decided(config)
    sweep_abandoned(config)
    assert experiment.manifest.status is Status.RUNNING
    unlock_experiment(experiment.directory)
    open_experiment(config, "next", "run-2")
    assert closed(experiment, config)[0] is Status.PARTIAL
    assert registered(experiment, config).startswith("Partial | accuracy ")
    assert RULES["min_accuracy"].issue in (config.reports_dir / "_tech-debt.md").read_text()
