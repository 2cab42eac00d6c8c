"""The jobs of the UI: check the data, compare, promote, roll back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.definitions import defs
from mlrun_assets.production.versions import history
from mlrun_assets.records import Verdict
from mlrun_assets_tests.examples import MakeProject, finished, project


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dagster_home: Path) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


def execute(config: LoadedConfig, job: str, op: str, **settings: Any) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        run_config={
            "ops": {op: {"config": settings}} if settings else {},
            "resources": {"ml_run": {"config": {"config_file": str(config.file)}}},
        },
        raise_on_error=False,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (each for each in result.all_events if each.is_step_failure)
    return str(event.step_failure_data.error.message)


def test_a_person_compares_promotes_and_rolls_back(config: LoadedConfig) -> None:
    first, second = finished(config, "first"), finished(config, "second", Verdict.REJECTED)
    move = ("promote", "promote_model")
    assert execute(config, *move, experiment="first").success
    assert "--reason" in failure(execute(config, *move, experiment="second"))

    looked = execute(config, "compare", "compare_models", models=["second"])
    assert looked.success
    (output,) = (each for each in looked.all_events if each.event_type_value == "STEP_OUTPUT")
    table = output.step_output_data.metadata["differences"].value
    assert "|  | first | second |" in table
    assert "| verdict | APPROVED | REJECTED |" in table

    assert execute(config, *move, experiment="second", reason="I am sure").success
    assert execute(config, "rollback", "restore_version", reason="I was not").success
    assert "the reason is empty" in failure(
        execute(config, "rollback", "restore_version", reason=" ")
    )
    moves = history(config.production_dir)
    assert [move.after for move in moves] == [first.id, second.id, first.id]
    assert [move.why for move in moves] == ["verdict APPROVED", "I am sure", "I was not"]


def test_the_data_is_checked_without_a_run(make_project: MakeProject, dagster_home: Path) -> None:
    config = load_config(make_project())
    checked = execute(config, "check_data", "check_the_data")
    assert checked.success
    (output,) = (each for each in checked.all_events if each.event_type_value == "STEP_OUTPUT")
    assert "| `split_leakage` | passed |" in output.step_output_data.metadata["checks"].value
    assert not config.experiments_dir.exists()

    rows = (config.directory / "data/train.jsonl").read_text()
    (config.directory / "data/test.jsonl").write_text(rows)
    assert "split_leakage: " in failure(execute(config, "check_data", "check_the_data"))


def test_the_launchpad_opens_with_what_a_person_gives() -> None:
    fields = {
        "ml_run": {"experiment": {"name", "overrides"}},
        "compare": {"compare_models": {"models"}},
        "promote": {"promote_model": {"experiment", "reason"}},
        "rollback": {"restore_version": {"to", "reason"}},
    }
    for job, ops in fields.items():
        definition = defs.resolve_job_def(job)
        shown = definition.run_config["ops"]
        assert {op: set(config["config"]) for op, config in shown.items()} == ops
        assert dg.validate_run_config(definition, definition.run_config)
