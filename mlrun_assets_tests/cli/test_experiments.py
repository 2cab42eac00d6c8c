"""The commands that list and compare, on experiments that have not run."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlrun_assets.cli.__main__ import commands
from mlrun_assets.config import SET_VARIABLE, LoadedConfig
from mlrun_assets.experiment import Experiment, find_experiment
from mlrun_assets.records import DecisionRecord, RuleOutcome, StageRun, Status, Verdict
from mlrun_assets.runs.closing import close_experiment
from mlrun_assets.runs.opening import open_experiment
from mlrun_assets.runs.stage import ResumedRun
from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.examples import ROOT, dataset_record, deployed, finished, project

Call = Callable[..., Called]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


@pytest.fixture
def both(config: LoadedConfig) -> tuple[Experiment, Experiment]:
    """One in production, and a later one that was stopped."""
    first, second = deployed(config, "first"), finished(config, "two", Verdict.REJECTED, day=24)
    stages = {"experiment": StageRun(status="done", seconds=2.0)}
    second.update(
        original_name="two!",
        status=Status.CANCELLED,
        stages=stages,
        created_at="2026-11-24T00:00:00Z",
    )
    return first, second


def documented(command: str) -> set[str]:
    """The keys in the table of docs/command-line.md."""
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{command}` \| (.*) \|$", page, re.MULTILINE)
    assert row
    return set(re.findall(r"`(\w+)`", row[1]))


def keys(value: Any) -> set[str]:
    """The keys of an object, and of objects in lists of it; not of free-form ones."""
    found: set[str] = set()
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            found |= set(each)
    return found


def test_json_has_the_documented_keys(
    both: tuple[Experiment, Experiment], call: Call, tmp_path: Path
) -> None:
    def read(*words: str) -> Any:
        called = call(*words, "--json", cwd=tmp_path)
        assert (called.returncode, called.stderr) == (0, "")
        return json.loads(called.stdout)

    runs = read("runs")
    assert [run["name"] for run in runs] == ["two!", "first"]
    assert keys(runs) == documented("runs")
    assert keys(read("show", "two!")) == documented("runs") | documented("show")
    status = read("status")
    nested = keys(status["production"]) | keys(status["tech_debt"])
    assert keys(status) | nested | {"number", "description", "impact"} == documented("status")
    assert status["runs"] == runs and status["production"]["version"] == both[0].id
    assert keys(read("versions")) == documented("versions")
    compared = read("compare", "two")
    told = keys(compared) | keys(compared["models"])
    assert told <= documented("compare") and len(told) == 6


def test_runs_are_sorted(both: tuple[Experiment, Experiment], call: Call, tmp_path: Path) -> None:
    def names(*words: str) -> list[str]:
        lines = call("runs", *words, cwd=tmp_path).stdout.splitlines()
        return [line.split()[0] for line in lines[1:]]

    assert names() == ["two!", "first"]
    assert names("--sort", "name") == ["first", "two!"]
    assert names("--sort", "seconds") == ["first", "two!"]
    assert names("--limit", "1") == ["two!"]


def test_a_stopped_run_is_listed_with_the_command_that_resumes_it(
    both: tuple[Experiment, Experiment], call: Call, tmp_path: Path
) -> None:
    first, second = both
    status = call("status", cwd=tmp_path).stdout
    assert "resume with `mlrun-assets run --resume two`" in status
    line = rf"^Cancelled +two! \({second.id}\), 2026-11-24T00:00:00Z$"
    assert re.search(line, status, re.MULTILINE)
    shown = call("show", second.id, cwd=tmp_path)
    assert "--resume two`" in shown.stderr
    second.update(name="first")  # which is the later one of that name
    assert f"id         {second.id}\n" in call("show", "first", cwd=tmp_path).stdout
    assert "run --resume first`" in call("status", cwd=tmp_path).stdout
    second.update(created_at="2026-11-01T00:00:00Z")
    assert f"run --resume {second.id}`" in call("status", cwd=tmp_path).stdout
    assert f"id         {first.id}\n" in call("show", "first", cwd=tmp_path).stdout


def test_a_record_of_another_version_is_said_to_be_one(
    both: tuple[Experiment, Experiment], call: Call, tmp_path: Path
) -> None:
    record = both[0].directory / "records" / "trained_checkpoint.json"
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"best_epoch": 1.0}))
    shown = call("show", "first", cwd=tmp_path).stdout
    assert "model      not known: this version can't read its record" in shown


def test_a_failed_run_can_be_resumed_as_its_last_line_said(
    both: tuple[Experiment, Experiment], call: Call, tmp_path: Path
) -> None:
    both[1].update(status=Status.FAILED)
    assert "resume with `mlrun-assets run --resume two`" in call("status", cwd=tmp_path).stdout


def test_what_is_in_production_is_not_to_be_promoted(config: LoadedConfig, call: Call) -> None:
    promoted, other = deployed(config, "first"), finished(config, "second")
    for experiment, advised in ((promoted, False), (other, True)):
        decision = experiment.load(DecisionRecord)
        step = f"Deploy it with `mlrun-assets promote {experiment.id}`."
        advice = {"next_steps": (step, "Label more rows."), "promotion": step}
        rules = [
            rule.model_copy(update={"outcome": RuleOutcome.WARNED}) for rule in decision.rules[:1]
        ]
        experiment.save(decision.model_copy(update={**advice, "rules": tuple(rules)}))
        shown = call("show", experiment.id, cwd=config.directory).stdout
        assert "Label more rows." in shown and ("mlrun-assets promote" in shown) is advised
        assert f"rules      warned: {rules[0].rule}" in shown


def on_terminal(columns: int, *words: str, cwd: Path, **environment: str) -> str:
    """What a command shows on a terminal of that width."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlrun_assets.cli", *words],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **environment},
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
    )
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so that the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def without_colour(shown: str) -> str:
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    return "\n".join(line.rstrip() for line in plain.splitlines())


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("words", [("status",), ("runs",), ("show", "first"), ("compare", "two")])
def test_a_narrow_terminal_shows_it_in_colour_unless_unwanted(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    plain = on_terminal(60, *words, cwd=tmp_path, NO_COLOR="1")
    assert "\x1b[3" not in plain
    text = without_colour(plain)
    assert max(map(len, text.splitlines())) <= 60
    assert "first" in text
    colourful = on_terminal(60, *words, cwd=tmp_path)
    assert "\x1b[" in colourful and without_colour(colourful) == text


@pytest.mark.parametrize("name", list(commands.commands))
def test_every_command_has_examples_in_its_help(name: str, call: Call, tmp_path: Path) -> None:
    called = call(name, "-h", cwd=tmp_path)
    assert called.returncode == 0
    assert re.search(rf"^Examples:\n  mlrun-assets {name}", called.stdout, re.MULTILINE)


def test_the_list_of_commands_is_whole_on_60_columns() -> None:
    context = click.Context(commands, terminal_width=60)
    listed = commands.get_help(context).partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(commands.commands)
    assert [line for line in listed if line.endswith("...")] == []


def test_a_shell_completes_names(
    both: tuple[Experiment, Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(*words: str) -> str:
        monkeypatch.setenv("COMP_WORDS", " ".join(["mlrun-assets", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.chdir(tmp_path)
        return (
            CliRunner()
            .invoke(
                commands,
                [],
                prog_name="mlrun-assets",
                env={"_MLRUN_ASSETS_COMPLETE": "bash_complete"},
            )
            .output
        )

    assert completed("show", "fi") == "plain,first\n"
    assert both[1].id in completed("run", "--resume", "exp_")
    (tmp_path / "ml_config.yaml").write_text("{", encoding="utf-8")
    assert completed("promote", "fi").strip() == ""


def test_listing_imports_no_heavy_library(config: LoadedConfig) -> None:
    script = (
        "import sys\n"
        "from mlrun_assets.cli.__main__ import commands\n"
        "for words in (['status'], ['runs'], ['versions']):\n"
        "    commands(words, standalone_mode=False)\n"
        "print(sorted({'torch', 'dagster', 'sklearn', 'polars', 'numpy'} & set(sys.modules)))\n"
    )
    printed = subprocess.check_output([sys.executable, "-c", script], cwd=config.directory)
    assert printed.splitlines()[-1] == b"[]"


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("command", ["schema", "status", "runs", "show first"])
def test_a_reader_that_leaves_ends_a_listing_well(tmp_path: Path, command: str) -> None:
    script = f"set -o pipefail; {sys.executable} -m mlrun_assets.cli {command} | head -1"
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1


def test_a_run_is_resumed_with_what_it_was_started_with(
    config: LoadedConfig, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[LoadedConfig, str]] = []

    def execute(
        config: LoadedConfig, name: str | None, resumed: ResumedRun | None, _: object
    ) -> Experiment:
        started.append((config, os.environ[SET_VARIABLE].strip()))
        experiment = resumed.experiment if resumed else open_experiment(config, name, "run-1")
        done = {name: StageRun(status="done") for name in ("experiment", "validated_dataset")}
        experiment.save(dataset_record({"a": 5, "b": 5}))
        experiment.update(stages=done)
        close_experiment(experiment, config, Status.CANCELLED)
        return experiment

    monkeypatch.setattr("mlrun_assets.cli.run.execute", execute)
    monkeypatch.setattr("mlrun_assets.cli.run.require_project", lambda _: None)
    secret = "tracking.mlflow_uri=https://me:secret@host/x"
    elsewhere = "training.backend=torchrun"  # its machines may be gone
    words = ["--fast", "--set", "training.epochs=3", "--set", secret, "--set", elsewhere]
    assert call("run", "one", *words, cwd=tmp_path).returncode == 130
    monkeypatch.delenv(SET_VARIABLE)
    resumed = call("run", "--resume", "one", cwd=tmp_path)
    assert resumed.returncode == 130
    notes = [line for line in resumed.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and "training.backend is inline instead of torchrun" in notes[0]
    first, second = started
    assert first[0].settings.training.backend == "torchrun"
    here = first[0].settings.training.model_copy(update={"backend": "inline"})
    assert second[0].settings == first[0].settings.model_copy(update={"training": here})
    assert (here.budget, here.epochs) == ("fast", 3)
    lines = second[1].splitlines()
    assert lines[1:] == ["training.epochs=3", 'tracking.mlflow_uri="https://***@host/x"']
    opened = find_experiment(config.experiments_dir, "one")
    assert "secret" not in opened.paths.manifest.read_text(encoding="utf-8")
    monkeypatch.delenv(SET_VARIABLE)
    opened.update(overrides=("training.gone=1",))  # as an earlier version could set it
    refused = call("run", "--resume", "one", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--set training.gone: unknown key" in refused.stderr
    assert "The run was started with --set for training.gone. Undo" in refused.stderr
