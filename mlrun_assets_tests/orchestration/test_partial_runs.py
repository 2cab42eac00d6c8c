"""Runs of some assets: the experiment that they continue, and what Dagster calls unsynced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from mlrun_assets.config import load_config
from mlrun_assets.data import validation
from mlrun_assets.definitions import defs
from mlrun_assets.experiment import Experiment, experiment_of_run
from mlrun_assets.orchestration import assets
from mlrun_assets.records import Status
from mlrun_assets_tests.examples import MakeProject

VALIDATED = ("experiment", "validated_dataset")
Execute = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def config(make_project: MakeProject) -> Path:
    return make_project()


@pytest.fixture
def execute(config: Path, dagster_home: Path) -> Execute:
    def executed(*selected: str, **resource: str) -> dg.ExecuteInProcessResult:
        resource = {"config_file": str(config), **resource}
        return dg.materialize(
            [*assets.stages, assets.raw_files],
            selection=list(selected),
            instance=dg.DagsterInstance.get(),
            resources=defs.resources,
            run_config={"resources": {"ml_run": {"config": resource}}},
            raise_on_error=False,
        )

    return executed


def worked_on(config: Path, result: dg.ExecuteInProcessResult) -> Experiment | None:
    return experiment_of_run(load_config(config).experiments_dir, result.run_id)


def registry(config: Path) -> str:
    return (config.parent / ".claude/reports/_registry.md").read_text()


@pytest.mark.slow
def test_a_stage_continues_the_experiment_of_its_latest_sources(
    config: Path, execute: Execute
) -> None:
    first, second = (worked_on(config, execute(*VALIDATED)) for _ in range(2))
    assert first and second and first != second
    (config.parent / "data/val.jsonl").unlink()
    failed = worked_on(config, execute(*VALIDATED))
    assert failed and failed.manifest.status is Status.FAILED
    line = f"- {failed.manifest.report} | Failed |"
    assert line in registry(config)

    assert worked_on(config, execute("training_plan")) == second  # not the newest
    (config.parent / "data/val.jsonl").write_bytes((config.parent / "data/test.jsonl").read_bytes())
    execute("validated_dataset", experiment_id=first.id)  # blocked, so it is not a source
    assert worked_on(config, execute("training_plan")) == second
    assert line in registry(config)


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(
    ("selected", "named"),
    [
        (["training_plan", "baseline_metrics"], "validated_dataset"),
        (["deployment_report"], "experiment_registry"),
    ],
)
def test_an_asset_without_its_sources_changes_no_experiment(
    config: Path, execute: Execute, selected: list[str], named: str, by_id: bool
) -> None:
    experiment = worked_on(config, execute("experiment"))
    assert experiment
    before = registry(config), experiment.manifest
    failed = execute(*selected, **({"experiment_id": experiment.id} if by_id else {}))
    assert not failed.success and worked_on(config, failed) is None
    (first, *_) = (each for each in failed.all_events if each.is_step_failure)
    message = first.step_failure_data.error.message
    assert all(part in message for part in (named, experiment.id, "experiment_id"))
    assert (registry(config), experiment.manifest) == before


def test_a_run_opens_an_experiment_or_continues_one(config: Path, execute: Execute) -> None:
    earlier = worked_on(config, execute("experiment"))
    assert earlier
    refused = execute("experiment", experiment_id=earlier.id)
    assert not refused.success and worked_on(config, refused) is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_a_cancelled_stage_shows_how_to_continue(
    execute: Execute, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    def cancel(_: object) -> None:
        raise interrupt

    monkeypatch.setattr(validation, "find_files", cancel)
    (failed,) = (e for e in execute(*VALIDATED).all_events if e.is_step_failure)
    error = failed.step_failure_data.error
    assert error and error.stack == []
    assert "run --resume" in error.message


@pytest.mark.slow
def test_every_asset_is_in_sync_after_the_run_that_made_it(config: Path, execute: Execute) -> None:
    made = (*VALIDATED, "training_plan")

    def unsynced() -> set[str]:
        instance = dg.DagsterInstance.get()
        resolver = CachingStaleStatusResolver(
            instance, defs.resolve_asset_graph(), LoadingContextForTest(instance)
        )
        causes = {name: resolver.get_stale_causes(dg.AssetKey(name)) for name in made}
        return {name for name, found in causes.items() if found}

    for number in range(2):
        assert execute(*made).success
        assert unsynced() == set()
        with (config.parent / "data/train.jsonl").open("a") as file:
            file.write(f'{{"text": "hore u soco oo kale {number}", "label": "sports"}}\n')
    # It reads new data into the old experiment, whose own input was another.
    assert execute("validated_dataset").success
    assert unsynced() == {"experiment", "training_plan"}
