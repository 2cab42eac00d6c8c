"""The report, registry line and tech debt at the end of a run."""

from __future__ import annotations

import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import RecordError
from mlrun_assets.experiment import (
    Experiment,
    is_locked,
    unlock_experiment,
)
from mlrun_assets.records import (
    ProductionRecord,
    RegistryRecord,
    StageRun,
    Status,
)
from mlrun_assets.runs import MADE_FROM, REPORT, closing
from mlrun_assets.runs.closing import complete_experiment, register_run
from mlrun_assets.runs.opening import open_experiment, sweep_abandoned
from mlrun_assets.runs.stage import Stage, run_stage
from mlrun_assets_tests.examples import (
    MakeProject,
    evaluation_record,
)


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def stage_of(experiment: Experiment, config: LoadedConfig, run_id: str = "run-1") -> Stage:
    return Stage(experiment, config, run_id, lambda _: None)


def closed(experiment: Experiment, config: LoadedConfig) -> tuple[Status, str]:
    manifest = experiment.manifest
    registry = (config.reports_dir / "_registry.md").read_text()
    line = next(line for line in registry.splitlines() if f"- {manifest.report} |" in line)
    report = config.reports_dir / "implementation" / f"{manifest.report}.md"
    assert report.exists() and report.with_suffix(".html").exists()
    assert f"| {manifest.status} |" in line
    assert not is_locked(experiment.directory)
    return manifest.status, report.read_text()


def test_a_run_of_some_assets_only_is_partial(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with run_stage(stage_of(experiment, config), "experiment"):
        pass
    assert sweep_abandoned(config) == []
    unlock_experiment(experiment.directory)
    assert sweep_abandoned(config) == [experiment]
    assert closed(experiment, config)[0] is Status.PARTIAL


def test_a_report_alone_completes_nothing(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with (
        pytest.raises(RecordError, match="validated_dataset, training_plan"),
        run_stage(stage_of(experiment, config), "deployment_report"),
    ):
        complete_experiment(experiment, config, "run-1")
    assert closed(experiment, config)[0] is Status.FAILED


def registered(experiment: Experiment, config: LoadedConfig) -> str:
    registry = (config.reports_dir / "_registry.md").read_text()
    (line,) = (each for each in registry.splitlines() if experiment.manifest.report in each)
    return line.split(" | ", 1)[1]


def decided(config: LoadedConfig) -> Experiment:
    """An experiment whose stages before the report are done."""
    experiment = open_experiment(config, "x", "run-1")
    stage = stage_of(experiment, config)
    experiment.save(evaluation_record())
    experiment.save(ProductionRecord(moved=False, sentence="stays", before=None, after=None))
    done = {name: StageRun(status="done") for name in MADE_FROM if name != REPORT}
    experiment.update(stages=done)
    with run_stage(stage, "experiment_registry"):
        stage.save(register_run(experiment, config))
    return experiment


def test_the_registry_shows_complete_once_the_report_is_written(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = decided(config)
    assert registered(experiment, config).startswith("Running | accuracy ")

    def killed(*_: object) -> None:
        assert registered(experiment, config).startswith("Running | accuracy ")
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(closing, "write_report", killed)
        with pytest.raises(MemoryError):
            complete_experiment(experiment, config, "run-1")
    assert registered(experiment, config).startswith("Running | accuracy ")
    assert experiment.manifest.status is Status.RUNNING

    with run_stage(stage_of(experiment, config), "deployment_report"):
        complete_experiment(experiment, config, "run-1")
    assert closed(experiment, config)[0] is Status.COMPLETE
    assert registered(experiment, config).startswith("Complete | accuracy ")
    assert experiment.load(RegistryRecord).line.endswith(registered(experiment, config))


def test_a_run_that_is_killed_before_its_report_is_closed_by_the_next_one(
    config: LoadedConfig,
) -> None:
    experiment = decided(config)
    unlock_experiment(experiment.directory)
    open_experiment(config, "next", "run-2")
    assert closed(experiment, config)[0] is Status.PARTIAL
    assert registered(experiment, config).startswith("Partial | accuracy ")


def test_the_report_alone_made_again_leaves_the_run_complete(config: LoadedConfig) -> None:
    experiment = decided(config)
    for run_id in ("run-1", "run-2"):
        with run_stage(stage_of(experiment, config, run_id), "deployment_report"):
            assert registered(experiment, config).startswith("Running | ")
            complete_experiment(experiment, config, run_id)
    assert registered(experiment, config).startswith("Complete | accuracy ")
