"""The jobs of the UI: check the data, compare, promote, roll back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster_shared.error import DagsterError

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.definitions import defs
from mlrun_assets.errors import ConfigError
from mlrun_assets.orchestration.resources import for_ui, plain_errors
from mlrun_assets.production.versions import history
from mlrun_assets.records import Verdict
from mlrun_assets_tests.examples import ROOT, MakeProject, finished, project


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
    assert "field `reason`" in failure(execute(config, *move, experiment="second"))

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


@pytest.mark.parametrize(
    ("origin", "names"),
    [
        (None, ["`mlrun-assets run --resume`", "--config"]),
        (object(), ["Re-execute, From failure", "the field `config_file`"]),
    ],
)
def test_a_message_fits_where_the_run_was_started(origin: object, names: list[str]) -> None:
    raised = (KeyboardInterrupt(), ConfigError("no such file; name another one with --config"))
    for error, name in zip(raised, names, strict=True):
        run: Any = SimpleNamespace(remote_job_origin=origin)
        with pytest.raises(DagsterError, match=name) as caught, plain_errors(run):
            raise error
        assert isinstance(caught.value, KeyboardInterrupt) is isinstance(error, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("job", "op", "settings", "named"),
    [
        ("promote", "promote_model", {"experiment": ""}, "name an experiment"),
        ("promote", "promote_model", {"experiment": "nobody"}, "no experiment `nobody`"),
        ("compare", "compare_models", {"models": []}, "in the field `models`"),
        ("rollback", "restore_version", {"to": "", "reason": "x"}, "the field `to`"),
        ("rollback", "restore_version", {"to": "nobody", "reason": "x"}, "no version `nobody`"),
    ],
)
def test_a_refused_job_names_its_field(
    config: LoadedConfig, job: str, op: str, settings: dict[str, Any], named: str
) -> None:
    assert named in failure(execute(config, job, op, **settings))


# Only commands reach these, or they make documents.
NOT_IN_THE_UI = (
    "cli",
    "api.py",
    "decision",
    "reports",
    "data/proposal.py",
    "production/publishing.py",
)
# Jobs do not: they skip rows without a text, and write to a directory of their own.
NOT_RAISED_THERE = ("--skip-invalid", "--output")


def messages() -> Iterator[str]:
    """All texts of the product that a job may show, with `0` for values."""
    package = ROOT / "mlrun_assets"
    for file in package.rglob("*.py"):
        name = file.relative_to(package).as_posix()
        if name.startswith(NOT_IN_THE_UI) or file.name == "resources.py":
            continue
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        whole: dict[ast.AST, list[Any]] = {
            node: node.values for node in nodes if isinstance(node, ast.JoinedStr)
        }
        inside = {part for parts in whole.values() for part in parts}
        whole |= {n: [n] for n in nodes if isinstance(n, ast.Constant) and n not in inside}
        for parts in whole.values():
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "0" for p in parts)
            if " " in text and "\n" not in text:  # neither an argument nor a docstring
                yield text


def test_no_message_names_an_option_in_the_ui() -> None:
    options = re.compile(r"(?<![\w`-])--[a-z][a-z-]+")
    left = {
        (option, text)
        for text in messages()
        for option in options.findall(re.sub("`[^`]*`|^mlrun-assets .*", "", for_ui(text)))
    }
    assert {option for option, _ in left} == set(NOT_RAISED_THERE), left
    # `run --resume EXPERIMENT` stays: the UI can't repeat a run that it has not started.
    commands = re.compile("`mlrun-assets (?:run`|(?:compare|promote|rollback)\\b)")
    assert [text for text in messages() if commands.search(for_ui(text))] == []
