"""The command line: exit codes, output, and runs that are stopped."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlrun_assets.api import DAGSTER_YAML
from mlrun_assets.cli.__main__ import commands
from mlrun_assets.experiment import find_experiment
from mlrun_assets.records import CheckpointRecord, EvaluationRecord, Status, Verdict
from mlrun_assets_tests import forks
from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.cli.stopped import MOMENTS, stop_at
from mlrun_assets_tests.examples import (
    ROOT,
    MakeProject,
    deployed,
    probe_here,
    project,
    write_project,
)
from mlrun_assets_tests.test_machine import HARMFUL, variables

Call = Callable[..., Called]

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

# With `python -m`, an interrupt within an `exec` of a library can end Python by SIGINT.
COMMAND = [str(Path(sys.executable).with_name("mlrun-assets"))]
RUN = ("mlrun_assets.cli", "run")
COMMAND_LINE = (
    (ROOT / "docs/command-line.md").read_text(encoding="utf-8").partition("\n## Dagster")[0]
)


def run(
    *words: str, cwd: Path, command: list[str] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`mlrun-assets run`, or another command, in a process of its own."""
    result = subprocess.run(
        [*(command or [*COMMAND, "run"]), *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=forks.PATIENCE,
        check=False,
    )
    assert "Traceback" not in result.stderr + result.stdout
    return result


def registry_of(home: Path) -> str:
    return (home / ".claude/reports/_registry.md").read_text(encoding="utf-8")


def test_a_line_of_a_person_does_not_control_the_terminal(
    make_project: MakeProject, call: Call
) -> None:
    home = make_project().parent
    reports = home / ".claude/reports"
    reports.mkdir(parents=True)
    reports.joinpath("_tech-debt.md").write_text("- [ ] **TD-001**: a\u202eb\x1b[31m\\*\n", "utf-8")
    shown = call("status", cwd=home).stdout
    assert shown.splitlines()[-1].split() == ["TD-001", "ab", "[31m*"]


@pytest.mark.usefixtures("probed_here")
def test_run_status_promote_versions_push(make_project: MakeProject, call: Call) -> None:
    home = make_project(deployment={"min_accuracy": 1.0, "auto_deploy": True}).parent
    ran = call("run", "first", cwd=home)
    assert ran.returncode == 0, ran.stderr  # a rejected model is a result
    assert "Complete: accuracy" in ran.stdout and "REJECTED" in ran.stdout
    report = re.search(r"^report +(\S+)$", ran.stdout, re.MULTILINE)
    assert report and Path(report[1]).exists()
    assert "training: epoch 2" in ran.stderr
    assert not (home / "production" / "current").exists()
    assert "deployment.min_accuracy" in (home / ".claude/reports/_tech-debt.md").read_text()

    refused = call("promote", "first", cwd=home)
    assert refused.returncode == 1 and refused.stderr.startswith("error: exp_")
    forced = call("promote", "first", "--reason", "only model there is", cwd=home)
    assert forced.returncode == 0, forced.stderr
    listed = call("versions", cwd=home)
    assert re.search(r"^first +now .* only model there is \(forced\)", listed.stdout, re.MULTILINE)
    pushed = call("push", "./out/model", cwd=home)
    assert pushed.returncode == 0, pushed.stderr
    served = sorted(path.name for path in (home / "production" / "current").iterdir())
    assert sorted(path.name for path in (home / "out" / "model").iterdir()) == served

    status = call("status", cwd=home)
    assert status.returncode == 0
    assert re.search(r"^REJECTED +first ", status.stdout, re.MULTILINE)
    assert "TD-001" in status.stdout


def test_status_says_since_when_production_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    times = iter([f"2026-11-23T03:15:0{second}Z" for second in range(3)])
    monkeypatch.setattr("mlrun_assets.production.pointer.timestamp", lambda: next(times))
    config = project(tmp_path, monkeypatch)

    def first_line() -> str:
        return call("status", cwd=tmp_path).stdout.splitlines()[0]

    assert first_line() == "production  nothing deployed yet"
    first, _ = deployed(config, "first"), deployed(config, "second")
    assert call("rollback", "--reason", "wrong on the radio", cwd=tmp_path).returncode == 0
    assert first_line() == f"production  first ({first.id}), since 2026-11-23T03:15:02Z"
    (config.production_dir / "history.jsonl").write_text("")
    assert first_line() == f"production  first ({first.id})"


def test_a_missing_config_is_noted(tmp_path: Path, call: Call) -> None:
    (tmp_path / "data/sample").mkdir(parents=True)
    (tmp_path / "data/sample/train.jsonl").touch()
    result = call("check-data", cwd=tmp_path)
    missing = f"note: {tmp_path / 'ml_config.yaml'}: no such file; using the defaults\n"
    assert result.returncode == 1 and missing in result.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_of_the_file_system_is_one_message(
    make_project: MakeProject, unbuffered: str
) -> None:
    command = ["sh", "-c", '"$@" >/dev/full', "sh", *COMMAND, "status"]
    result = run(command=command, cwd=make_project().parent, PYTHONUNBUFFERED=unbuffered)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*No space left on device; make room.*\n", result.stderr)


def nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for stream in (1, 2):
        os.dup2(writer, stream)


def test_a_run_ends_as_it_would_if_nobody_reads_on(make_project: MakeProject) -> None:
    home = make_project().parent
    (home / "data/train.jsonl").write_text("not json\n")
    ended = forks.run(*RUN, cwd=home, output=home / "printed", before=nobody_reads)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")


@pytest.mark.parametrize(("command", "code"), [("status", 0), ("promote", 2)])
@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_command_ends_as_it_would_if_nobody_reads_on(
    make_project: MakeProject, command: str, code: int, streams: str
) -> None:
    home = make_project().parent
    piped = f'"$@" {streams} | true; exit "${{PIPESTATUS[0]}}"'
    ended = run(command=["bash", "-c", piped, "bash", *COMMAND, command], cwd=home)
    assert ended.returncode == code, ended.stderr


@pytest.mark.parametrize(
    ("signals", "code"), [(["SIGTERM"], 130), (["SIGHUP"], 130), (["SIGHUP", "SIGTERM"], 130)]
)
@pytest.mark.parametrize("ignored", [[], ["SIGINT"]])  # as a shell starts a job in the background
def test_a_hang_up_is_like_ctrl_c_in_every_command(
    tmp_path: Path, signals: list[str], code: int, ignored: list[str]
) -> None:
    script = (
        "import os, signal, sys\n"
        f"for name in {ignored}: signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "from mlrun_assets.cli import __main__ as cli\n"
        "def stopped(**_):\n"
        f"    for name in {signals}: os.kill(os.getpid(), getattr(signal, name))\n"
        "cli.commands = stopped\n"
        "cli.main()\n"
    )
    ended = run(command=[sys.executable, "-c", script], cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (code, "cancelled\n")


def test_nohup_keeps_a_command_running(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from mlrun_assets.cli import __main__ as cli\n"
        "cli.commands = lambda **_: os.kill(os.getpid(), signal.SIGHUP)\n"
        "cli.main()\n"
    )
    assert run(command=[sys.executable, "-c", script], cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("rows", "code", "told", "status"),
    [("not json\n" * 5, 3, "splits_nonempty", "Blocked"), (None, 1, "no such file", "Failed")],
)
def test_blocked_data_exits_3_and_a_failed_run_1(
    make_project: MakeProject, call: Call, rows: str | None, code: int, told: str, status: str
) -> None:
    home = make_project().parent
    train = home / "data" / "train.jsonl"
    train.write_text(rows) if rows else train.unlink()
    result = call("run", cwd=home)
    assert result.returncode == code, result.stderr
    assert told in result.stderr and "Not executing" not in result.stderr
    assert result.stdout.startswith(f"\n{status}: ")


def test_check_data_opens_no_experiment_and_leaves_nothing(
    make_project: MakeProject, call: Call
) -> None:
    home = make_project().parent
    result = call("check-data", cwd=home)
    assert result.returncode == 0 and result.stdout.endswith("ready to train on\n")
    lines = result.stdout.splitlines()
    heading = next(at for at, line in enumerate(lines) if "to review. The most likely" in line)
    assert lines[heading + 1].split() == ["split", "id", "label", "suggested", "text"]
    split, id, *_ = lines[heading + 2].split()  # noqa: A001
    rows = (home / f"data/{split}.jsonl").read_text(encoding="utf-8").splitlines()
    text = next(row["text"] for row in map(json.loads, rows) if row["id"] == id)
    assert text[:40] in lines[heading + 2]
    assert "--output DIRECTORY writes data/review_labels.jsonl there" in result.stderr
    assert not (home / "experiments").exists() and not (home / ".claude").exists()


def test_variables_of_libraries_change_no_check(make_project: MakeProject, call: Call) -> None:
    labels = ["sports", "climate"]
    home = make_project(data={"labels": labels}, model={"num_labels": 2}).parent
    words = ["check-data", "--output", "out"]
    others = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0"}
    usual = call(*words, cwd=home)
    result = run(command=[*COMMAND, *words], cwd=home, **variables(HARMFUL), **others)
    assert usual.returncode == result.returncode == 1
    assert usual.stdout == result.stdout
    assert "unknown label" in (home / "out/data/quarantine.jsonl").read_text(encoding="utf-8")


def test_check_data_exits_1_when_blocked_and_names_what_it_kept(
    make_project: MakeProject, call: Call
) -> None:
    home = make_project(model={"num_labels": 4}).parent
    with (home / "data" / "train.jsonl").open("a") as file:
        file.write("{\n")
    result = call("check-data", "--output", "out", cwd=home)
    assert result.returncode == 1
    assert re.match(r"\w+ +BLOCKS ", result.stdout)
    assert re.search(r"^label_domain +BLOCKS", result.stdout, re.MULTILINE)
    found = json.loads(call("check-data", "--json", cwd=home).stdout)
    assert (found["ready"], found["rows"]["train"]["quarantined"]) == (False, 1)
    documented = set(re.findall(r"`(\w+)`", COMMAND_LINE.partition("| `check-data` |")[2]))
    assert {*found, *found["checks"][0], *found["rows"]["train"]} == documented
    row = json.loads((home / "out/data/quarantine.jsonl").read_text(encoding="utf-8"))
    assert (row["line"], row["reason"]) == (61, "not JSON")
    assert "Datasheet" in (home / "out/data/datasheet.md").read_text(encoding="utf-8")


def test_check_data_overwrites_no_split(make_project: MakeProject, call: Call) -> None:
    home = make_project(data={"train_path": "data/train.parquet"}).parent
    pl.read_ndjson(home / "data/train.jsonl").write_parquet(home / "data/train.parquet")
    before = (home / "data/train.parquet").read_bytes()
    refused = call("check-data", "--output", ".", cwd=home)
    assert refused.returncode == 1 and "train.parquet: would be overwritten" in refused.stderr
    assert (home / "data/train.parquet").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_check_data_leaves_no_text_behind(make_project: MakeProject, number: int) -> None:
    home = make_project().parent
    (home / "data" / "train.jsonl").unlink()
    os.mkfifo(home / "data" / "train.jsonl")  # reading waits for ever
    (home / "tmp").mkdir()
    process = subprocess.Popen(
        [*COMMAND, "check-data"], cwd=home, env={**os.environ, "TMPDIR": str(home / "tmp")}
    )
    while not list((home / "tmp").iterdir()):
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(forks.PATIENCE) == 130
    assert not list((home / "tmp").iterdir())


def test_check_data_without_the_encoder_checks_all_but_lengths(
    make_project: MakeProject, call: Call
) -> None:
    home = make_project(model={"name": "nobody/no-such-model"}).parent
    result = call("check-data", cwd=home)
    assert result.returncode == 0, result.stderr
    assert "note: no token counts" in result.stderr
    (off,) = re.findall(r"^off \(\d+\): (.*)", result.stdout, re.MULTILINE)
    assert {"truncation", "tokenizer_fit"} <= set(off.split(", "))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "--config", "absent.yaml"], 2, "absent.yaml: no such config file"),
        (["run", "..."], 2, "no letter or digit"),
        (["run", "exp_20261123T031500Z"], 2, "has the form of an experiment's id"),
        (["run", "--resume", "nobody"], 2, "no experiment `nobody`"),
        (["run", "--resume", ""], 2, "name an experiment"),
        (["run", "a-name", "--resume", "nobody"], 2, "leave out one"),
        (["run", "--fast", "--resume", "nobody"], 2, "leave out --set and --fast"),
        (["status", "--set", "training.epoch=2"], 2, "did you mean `epochs`?"),
        (["status", "--limit", "-1"], 2, "-1 is not in the range x>=1"),
        (["promote", "nobody"], 2, "no experiment `nobody`"),
        (["rollback", "--reason", "x"], 1, "production"),
        (["compare"], 1, "nothing is in production"),
        (["compare", "a", "b"], 2, "no experiment `a`"),
        (["show", "nobody"], 2, "no experiment `nobody`"),
        (["push", "./model"], 1, "nothing is in production"),
        (["fly"], 2, "No such command"),
    ],
)
def test_wrong_calls(tmp_path: Path, call: Call, words: list[str], code: int, message: str) -> None:
    result = call(*words, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert message in result.stderr


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A directory with projects named like the moments at which their runs were stopped."""
    directory = tmp_path_factory.mktemp("stopped")
    for moment in MOMENTS:
        home = directory / moment
        write_project(home, tiny_encoder, training={"epochs": 4})
        before = functools.partial(stop_at, moment)
        settings = {"cwd": home, "output": home / "printed", "DAGSTER_HOME": ""}
        ended = forks.run(*RUN, "stopped", before=before, **settings)
        (home / "code").write_text(str(ended.returncode))
    return directory


@pytest.mark.usefixtures("probed_here")
def test_a_killed_run_is_resumed_and_ends_as_an_undisturbed_one(
    stopped: Path, make_project: MakeProject, call: Call
) -> None:
    other = make_project(training={"epochs": 4}).parent
    undisturbed = call("run", "undisturbed", cwd=other)
    assert undisturbed.returncode == 0, undisturbed.stderr
    home = stopped / "SIGKILL"
    assert (home / "code").read_text() == str(-signal.SIGKILL), (home / "printed.err").read_text()
    expected = find_experiment(other / "experiments", "undisturbed")
    killed = find_experiment(home / "experiments", "stopped")
    assert "was killed; resume with `mlrun-assets run --resume stopped`" in (
        call("status", cwd=home).stdout
    )
    before = killed.manifest.stages
    assert killed.manifest.status is Status.RUNNING
    assert before["trained_checkpoint"].status == "running"
    config = json.loads((home / "ml_config.yaml").read_text())
    (home / "ml_config.yaml").write_text(json.dumps({**config, "reports": {"show_text": True}}))
    with (home / "data" / "train.jsonl").open("a") as file:
        file.write("{}\n")

    resumed = call("run", "--resume", "stopped", cwd=home)
    assert resumed.returncode == 0, resumed.stderr
    for said in (
        "note: the files of train have changed",
        "note: the config has changed",
        "training: continues from checkpoint-",
    ):
        assert said in resumed.stderr
    assert resumed.stdout.startswith("\nComplete: accuracy")
    after = killed.manifest
    assert after.status is Status.COMPLETE
    assert all(
        after.stages[name] == before[name] for name in ("validated_dataset", "training_plan")
    )
    checkpoint, same = (each.load(CheckpointRecord) for each in (killed, expected))
    tuned, undisturbed = checkpoint.fine_tuning, same.fine_tuning
    assert tuned
    assert undisturbed
    assert tuned.resumed_from_step
    assert (tuned.history, checkpoint.digest) == (undisturbed.history, same.digest)
    assert killed.load(EvaluationRecord).test == expected.load(EvaluationRecord).test
    assert not (killed.directory / "checkpoints").exists()
    (line,) = (line for line in registry_of(home).splitlines() if f"- {after.report} |" in line)
    assert "| Complete | accuracy" in line

    again = call("run", "--resume", killed.id, cwd=home)
    assert again.returncode == 0, again.stderr
    assert "nothing to resume" in again.stderr
    assert killed.manifest == after


def test_two_runs_at_once_on_a_fresh_machine_keep_apart(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_project().parent
    running = {
        name: forks.start(*RUN, name, cwd=home, output=home / name, before=probe_here)
        for name in ("one", "two")
    }
    for name, process in running.items():
        ended = forks.ended(process, home / name)
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        assert ended.stdout.startswith("\nComplete: ")
    assert registry_of(home).count("| Complete | ") == 2
    assert len(list((home / "experiments").glob("exp_*"))) == 2
    monkeypatch.setenv("DAGSTER_HOME", str(home / ".dagster"))
    with dg.DagsterInstance.get() as instance:
        tags = [run.tags for run in instance.get_runs()]
    assert {each["mlrun/name"] for each in tags} == {"one", "two"}
    assert {each["mlrun/verdict"] for each in tags} <= set(map(str, Verdict))


def test_the_documented_dagster_command(make_project: MakeProject, dagster_home: Path) -> None:
    home = make_project().parent
    result = forks.run(
        *("dagster", "asset", "materialize", "--select", "+deployment_report"),
        cwd=home,
        output=home / "printed",
        before=probe_here,
        DAGSTER_MODULE_NAME="mlrun_assets.definitions",
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert "| Complete | accuracy" in registry_of(home)
    (printed,) = re.findall(r"report: (\S+)", result.stdout + result.stderr)
    assert Path(printed).is_file() and printed.endswith(".html")


def test_a_history_that_dagster_can_not_read_is_one_message(
    make_project: MakeProject, dagster_home: Path
) -> None:
    history = dagster_home / "history" / "runs.db"
    history.parent.mkdir()
    history.write_bytes(b"no database " * 1000)
    result = run(cwd=make_project().parent)
    assert result.returncode == 1
    assert f"error: {dagster_home}: Dagster's history can't be kept here" in result.stderr


@pytest.mark.parametrize(
    ("moment", "last", "opened", "trained"),
    [
        ("ENGINE_EVENT", "cancelled", False, False),
        ("STEP_SUCCESS", "Cancelled: cancelled between two assets", True, False),
        ("SIGINT", "Cancelled: ", True, True),
        ("SIGTERM", "Cancelled: ", True, True),
        ("SIGHUP", "Cancelled: ", True, True),
    ],
)
def test_ctrl_c_closes_the_experiment(
    stopped: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    last: str,
    opened: bool,
    trained: bool,
) -> None:
    home = stopped / moment
    output = (home / "printed.out").read_text() + (home / "printed.err").read_text()
    assert (home / "code").read_text() == "130", output
    assert "Traceback" not in output
    assert any(line.startswith(last) for line in output.splitlines())
    if opened:
        assert re.search(r"- impl-ml-run-stopped-\d{8} \| Cancelled \|", registry_of(home))
        assert re.search(r"^continue +mlrun-assets run --resume stopped$", output, re.MULTILINE)
    assert len(list((home / "experiments").glob("exp_*"))) == opened
    saved = list((home / "experiments").glob("exp_*/checkpoints/checkpoint-*"))
    assert bool(saved) == trained
    monkeypatch.setenv("DAGSTER_HOME", str(home / ".dagster"))
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def test_settings_and_schema_are_the_shipped_ones(tmp_path: Path, call: Call) -> None:
    assert (ROOT / ".dagster/dagster.yaml").read_text(encoding="utf-8") == DAGSTER_YAML
    schema = (ROOT / "docs/ml_config.schema.json").read_text(encoding="utf-8")
    assert call("schema", cwd=tmp_path).stdout == schema


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_a_command_names_all_that_it_takes(name: str) -> None:
    command = commands.commands[name]
    assert command.callback is not None
    taken = inspect.signature(command.callback).parameters.values()
    kinds = {parameter.kind for parameter in taken}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    named = {parameter.name for parameter in taken} - {"config"}
    passed = {option.name for option in command.params if option.expose_value}
    assert named == passed - {"file"}
