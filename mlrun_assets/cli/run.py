"""Commands that change something: ``run``, ``ui``, what moves or copies the production model."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click

import mlrun_assets
from mlrun_assets.api import dagster_home, execute
from mlrun_assets.cli import (
    command,
    complete_names,
    note,
    override,
    progress,
    require_project,
    say,
    show,
    show_columns,
    shown_path,
    with_config,
)
from mlrun_assets.cli.experiments import RESUMABLE, can_resume, handle
from mlrun_assets.config import (
    CONFIG_VARIABLE,
    SET_VARIABLE,
    LoadedConfig,
    json_schema,
    load_config,
)
from mlrun_assets.errors import ConfigError, MlrunError, listed
from mlrun_assets.experiment import Experiment, find_experiment, slug
from mlrun_assets.records import DecisionRecord, Status

EXIT_CODES = {Status.COMPLETE: 0, Status.FAILED: 1, Status.BLOCKED: 3, Status.CANCELLED: 130}


@command(
    "run",
    "Run everything, from data to the report. Other commands, such as `show` and `promote`, take "
    "the NAME of the run or its id.",
    "run baseline-v2",
    "run --fast",
    "run --set training.epochs=2",
    "run --resume baseline-v2",
)
@click.argument("name", required=False)
@click.option(
    "--resume",
    metavar="EXPERIMENT",
    shell_complete=complete_names,
    help="Resume a stopped experiment, by its id or name. Finished stages are not run again.",
)
@click.option(
    "--fast",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _option, fast: override("training.budget=fast") if fast else None,
    help="Leave out fine-tuning: the same as --set training.budget=fast.",
)
@with_config
def run(config: LoadedConfig, name: str | None, resume: str | None) -> None:
    """Run the whole graph in a new experiment, or the rest of it in a stopped one."""
    if name and resume is not None:
        raise click.UsageError(
            "NAME opens a new experiment and --resume continues an earlier one: leave out one"
        )
    if resume is not None and os.environ.get(SET_VARIABLE):
        raise click.UsageError(
            "--resume continues with the config of its experiment: leave out --set and --fast"
        )
    if name:
        slug(name)
    if resume is None:
        require_project(config)
    from mlrun_assets.runs.stage import EXECUTION_KEYS, resume_experiment

    resumed = None
    if resume is not None:  # as it was started, with the backend that the config has now
        lines = find_experiment(config.experiments_dir, resume).manifest.overrides
        backend = tuple(f"training.{key}=" for key in EXECUTION_KEYS)
        kept = [line for line in lines if not line.startswith(backend)]
        override(*kept)
        try:
            config = load_config(config.file)
        except ConfigError as error:
            keys = listed([line.partition("=")[0] for line in kept])
            raise ConfigError(
                f"{error}\nThe run was started with --set for {keys}. Undo what has changed in the "
                "config since, or start a new run"
            ) from None
        resumed = resume_experiment(config, resume, note)
    if resumed and not resumed.stages:
        experiment = resumed.experiment
        say(f"{experiment.id} is already complete; nothing to resume", err=True)
    else:
        if resumed:
            stages = ", ".join(resumed.stages)
            say(f"{resumed.experiment.manifest.title}: resuming with {stages}", err=True)
        with progress():
            experiment = execute(config, name, resumed, note)
    _conclude(experiment, config)
    sys.exit(EXIT_CODES.get(experiment.manifest.status, 1))


def _conclude(experiment: Experiment, config: LoadedConfig) -> None:
    """Print how the run ended, why, and what to do next."""
    from mlrun_assets.registries.registry import report_file
    from mlrun_assets.runs.closing import run_summary

    manifest, name = experiment.manifest, shlex.quote(handle(experiment, config))
    say(f"\n{manifest.status}: {run_summary(experiment, config, manifest.error)}")
    if manifest.error and manifest.status is not Status.CANCELLED:
        say(manifest.error, err=True)
    decision = experiment.find(DecisionRecord)
    rows = []
    if decision and manifest.status is Status.COMPLETE:
        rows += [["verdict", str(decision.verdict)], ["", decision.sentence]]
        rows += [["" if place else "next", step] for place, step in enumerate(decision.next_steps)]
    rows.append(["experiment", f"{manifest.title} in {shown_path(experiment.directory)}"])
    page = report_file(config.reports_dir, manifest.report).with_suffix(".html")
    rows.append(["report", shown_path(page)])
    rows.append(["", f"`mlrun-assets open {name}` shows it"])
    if manifest.status in RESUMABLE and can_resume(experiment):
        rows.append(["continue", f"mlrun-assets run --resume {name}"])
    show_columns(rows)


@command(
    "ui",
    "Start Dagster's UI for this project. It shows the graph, its runs and jobs. Ctrl-C ends it.",
    "ui",
    "ui --port 3001",
)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. The UI has no login: whoever reaches it can deploy models.",
)
@with_config
def ui(config: LoadedConfig, port: int, host: str) -> None:
    """Run `dagster dev` on the definitions of this package until it ends."""
    require_project(config)
    _require_free(host, port)
    environment = {**os.environ, "DAGSTER_HOME": str(dagster_home(config))}
    environment.pop("DAGSTER_MODULE_NAME", None)  # `dagster dev` would hang
    if config.file:
        environment[CONFIG_VARIABLE] = str(config.file)
    # Without -W, it first prints that `dg dev` has replaced it.
    call = [sys.executable, "-W", "ignore:Function", "-m", "dagster", "dev"]
    # It names the code location as `dg dev` does: sensors stay on, and runs can be repeated there.
    workspace = Path(mlrun_assets.__file__).with_name("workspace.yaml")
    call += ["--workspace", str(workspace), "--host", host, "--port", str(port)]
    _until_ctrl_c(call, environment)
    raise MlrunError("Dagster's UI has ended by itself; the lines above say why")


def _require_free(host: str, port: int) -> None:
    """Raise ConfigError if ``host`` and ``port`` can't be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
        raise ConfigError(
            f"port {port} of {host} {why}; choose another one with --port or --host"
        ) from None


def _until_ctrl_c(call: list[str], environment: dict[str, str]) -> None:
    """Run a command until it ends; Ctrl-C or SIGTERM also ends the processes that it started."""
    # In the background of a script SIGINT is ignored, and would be in the processes, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(call, env=environment, start_new_session=True)
    try:
        process.wait()
    except KeyboardInterrupt:
        # As a terminal does: the runs that were started in the UI close their experiments.
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


# Production


@command(
    "promote",
    "Deploy the model of an experiment. EXPERIMENT is its name or id.",
    "promote baseline-v2",
    'promote baseline-v2 --reason "best on the radio texts"',
)
@click.argument("experiment", shell_complete=complete_names)
@click.option(
    "--reason",
    help="The reason, for the history. Required if the verdict is not APPROVED, or if production "
    "has changed since the run.",
)
@with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """Deploy the model and print what changed."""
    from mlrun_assets.production.pointer import LINK
    from mlrun_assets.runs.promotion import promote_by_hand, user_name

    found = find_experiment(config.experiments_dir, experiment)
    with progress("promote", in_lines=False):
        moved = promote_by_hand(found, config, reason, user_name())
    say(moved.sentence)
    say(
        f"The model is in {shown_path(config.production_dir / LINK)}. Try it with "
        '`mlrun-assets predict "TEXT"`.'
    )


@command(
    "rollback",
    "Deploy an earlier version again.",
    'rollback --reason "wrong on the radio texts"',
    'rollback --to baseline-v1 --reason "the last good one"',
)
@click.option(
    "--to",
    shell_complete=complete_names,
    help="The version or its name (see `versions`). Default: the previous one.",
)
@click.option("--reason", required=True, help="The reason, for the history.")
@with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """Restore the version and print what changed."""
    from mlrun_assets.runs.promotion import roll_back, user_name

    with progress("rollback", in_lines=False):
        moved = roll_back(config, to, reason, user_name())
    say(moved.sentence)


@command(
    "push",
    "Copy the production model to TARGET. TARGET is a directory (`./model`) or a Hub "
    "repository (`user/name`, with the token in HF_TOKEN). The repository then contains only this "
    "model and its card; its earlier content stays in its history. No data is pushed.",
    "push ./model",
    "push user/name --version baseline-v2",
)
@click.argument("target")
@click.option(
    "--version",
    shell_complete=complete_names,
    help="A version or an experiment. Default: the production model.",
)
@click.option("--public", is_flag=True, help="Make the repository public. Default: private.")
@with_config
def push(config: LoadedConfig, target: str, version: str | None, public: bool) -> None:
    """Copy the model and print where it is."""
    from mlrun_assets.production import publishing

    with progress("push", in_lines=False):
        place = publishing.push(config, target, version, public=public)
    show(place)


@command(
    "schema",
    "Print the JSON Schema of ml_config.yaml. Editors complete and check the file with it.",
    "schema > schema.json",
)
def schema() -> None:
    """Print the schema."""
    show(json.dumps(json_schema(), indent=2))
