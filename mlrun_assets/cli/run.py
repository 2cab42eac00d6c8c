"""``mlrun-assets run``: the whole graph in this process, or the rest of a stopped run."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlrun_assets.cli import (
    command,
    complete_names,
    note,
    note_defaults,
    override,
    progress,
    say,
    show_columns,
    shown_path,
    with_config,
)
from mlrun_assets.cli.experiments import can_resume, handle
from mlrun_assets.config import SET_VARIABLE, LoadedConfig
from mlrun_assets.errors import MlrunError
from mlrun_assets.experiment import Experiment, experiment_of_run, slug
from mlrun_assets.files import locked
from mlrun_assets.records import DecisionRecord, Status

if TYPE_CHECKING:
    import dagster as dg

    from mlrun_assets.runs.stage import ResumedRun

EXIT_CODES = {Status.COMPLETE: 0, Status.FAILED: 1, Status.BLOCKED: 3, Status.CANCELLED: 130}
INTERRUPTS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
DAGSTER_YAML = """\
# No telemetry, no questions to new users, no debug lines on the terminal.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  python_log_level: INFO
# Ctrl-C ends the run, not the processes that show its output.
compute_logs:
  module: mlrun_assets.orchestration.dagster_internals
  class: InterruptSafeLogManager
"""


@command(
    "run",
    "Run everything, from data to the report.",
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
    help="Only models that need no fine-tuning: the same as --set training.budget=fast.",
)
@with_config
def run(config: LoadedConfig, name: str | None, resume: str | None) -> None:
    """Run the whole graph in a new experiment, or the rest of it in a stopped one."""
    from mlrun_assets.runs.stage import resume_experiment

    if name and resume is not None:
        raise click.UsageError(
            "NAME opens a new experiment and --resume continues an earlier one: leave out one"
        )
    if resume is not None and os.environ.get(SET_VARIABLE):
        raise click.UsageError(
            "--resume continues with the config of its experiment: leave out --set and --fast"
        )
    note_defaults(config)
    if name:
        slug(name)
    resumed = None if resume is None else resume_experiment(config, resume, note)
    if resumed and not resumed.stages:
        experiment = resumed.experiment
        say(f"{experiment.id} is already complete; nothing to resume", err=True)
    else:
        if resumed:
            stages = ", ".join(resumed.stages)
            say(f"{resumed.experiment.manifest.title}: resuming with {stages}", err=True)
        with progress():
            experiment = _execute(config, name, resumed)
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
    if manifest.status in (Status.CANCELLED, Status.FAILED) and can_resume(experiment):
        rows.append(["continue", f"mlrun-assets run --resume {name}"])
    show_columns(rows)


def _execute(config: LoadedConfig, name: str | None, resumed: ResumedRun | None) -> Experiment:
    """Run the graph in a new experiment, or the stages that are left in a resumed one."""
    use_dagster_home(config)
    import dagster as dg

    from mlrun_assets.definitions import defs

    resource = {"config_file": str(config.file)} if config.file else {}
    ops: dict[str, object] = {"experiment": {"config": {"name": name} if name else {}}}
    selection = None
    if resumed:
        resource["experiment_id"], ops = resumed.experiment.id, {}
        selection = [dg.AssetKey(stage) for stage in resumed.stages]
    with _dagster_instance() as instance:
        result = defs.resolve_job_def("ml_run").execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=selection,
            run_config={
                "ops": ops,
                "resources": {"ml_run": {"config": resource}},
                "loggers": {"plain": {}},
            },
        )
    return _closed(config, result)


@contextmanager
def _dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance, with its history in DAGSTER_HOME; `MlrunError` if that can't be kept."""
    import dagster as dg
    from sqlalchemy.exc import DBAPIError

    from mlrun_assets.orchestration.dagster_internals import interrupts_blocked

    home = Path(os.environ["DAGSTER_HOME"])
    try:
        # Two processes that create the same history at once corrupt it.
        with locked(home / "history"), interrupts_blocked():
            instance = dg.DagsterInstance.get()
        # A signal that arrives while SQLAlchemy closes a connection is raised again, and would be
        # logged there with a traceback first.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        with instance:
            yield instance
    except DBAPIError as error:
        raise MlrunError(
            f"{home}: Dagster's history can't be kept here: {error.orig}; make room, or export "
            "DAGSTER_HOME as the absolute path of another directory; a run that has started can be "
            "resumed with `mlrun-assets run --resume`"
        ) from None


def _closed(config: LoadedConfig, result: dg.ExecuteInProcessResult) -> Experiment:
    """The experiment of a run that has ended.

    Dagster delays a Ctrl-C between two assets until the next asset starts, outside its stage; the
    experiment is then closed here.

    Raises:
        MlrunError: the run failed before it had an experiment, or its end can't be recorded.
        KeyboardInterrupt: the run was cancelled before it had an experiment.
    """
    from mlrun_assets.runs.stage import Stage, close_after_error

    experiment = experiment_of_run(config.experiments_dir, result.run_id)
    errors = list(_errors(result))
    cancelled = any(kind in INTERRUPTS for kind, _ in errors)
    if experiment is None and cancelled:
        raise KeyboardInterrupt
    why = errors[0][1].strip() if errors else "the run ended before its first asset"
    if experiment is None:
        raise MlrunError(why)
    if experiment.manifest.status is Status.RUNNING:
        status = Status.CANCELLED if cancelled else Status.FAILED
        stage = Stage(experiment, experiment.config(config), result.run_id, note)
        close_after_error(stage, status, "cancelled between two assets" if cancelled else why)
    if experiment.manifest.status is Status.RUNNING:
        raise MlrunError(why)
    return experiment


def use_dagster_home(config: LoadedConfig) -> None:
    """Set DAGSTER_HOME to ``.dagster`` beside the config, unless it is set."""
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        if Path(chosen).is_absolute() and Path(chosen).is_dir():
            return
        raise MlrunError(
            f"DAGSTER_HOME is {chosen}: export the absolute path of a directory that exists, or "
            "unset it"
        )
    home = config.directory / ".dagster"
    try:
        home.mkdir(exist_ok=True)
        settings = home / "dagster.yaml"
        if not settings.exists():
            settings.write_text(DAGSTER_YAML, encoding="utf-8")
    except OSError as error:
        raise MlrunError(
            f"{home}: Dagster's history can't be kept here: {error.strerror}; export "
            "DAGSTER_HOME as the absolute path of a directory that can be written"
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str | None, str]]:
    """Class and message of the error of each failed step, then of the run.

    Dagster wraps an error in others; this is the innermost.
    """
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    errors += [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    for error in filter(None, errors):
        while error.cause:
            error = error.cause  # noqa: PLW2901
        yield error.cls_name, error.message
