"""The jobs of the UI: compare, promote, roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import LoadedConfig
from mlrun_assets.definitions import defs
from mlrun_assets.production.versions import history
from mlrun_assets.records import Verdict
from mlrun_assets_tests.examples import finished, project


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dagster_home: Path) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


def execute(config: LoadedConfig, job: str, op: str, **settings: Any) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        run_config={
            "ops": {op: {"config": settings}},
            "resources": {"ml_run": {"config": {"config_file": str(config.file)}}},
        },
        raise_on_error=False,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (each for each in result.all_events if each.is_step_failure)
    return str(event.step_failure_data.error.message)


def test_a_person_compares_promotes_and_rolls_back(config: LoadedConfig) -> None:
    first, second = finished(config, "first"), finished(config, "second", Verdict.REJECTED)
    move = ("promote_experiment", "move_production")
    assert execute(config, *move, experiment="first").success
    assert "--reason" in failure(execute(config, *move, experiment="second"))

    looked = execute(config, "compare_two_models", "compare_models", models=["second"])
    assert looked.success
    (output,) = (each for each in looked.all_events if each.event_type_value == "STEP_OUTPUT")
    table = output.step_output_data.metadata["differences"].value
    assert "|  | first | second |" in table
    assert "| verdict | APPROVED | REJECTED |" in table

    assert execute(config, *move, experiment="second", reason="I am sure").success
    assert execute(config, "rollback_production", "restore_production", reason="I was not").success
    moves = history(config.production_dir)
    assert [move.after for move in moves] == [first.id, second.id, first.id]
    assert [move.why for move in moves] == ["verdict APPROVED", "I am sure", "I was not"]
