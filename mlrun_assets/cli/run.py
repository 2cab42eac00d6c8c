"""``mlrun-assets run``: the whole graph, or the rest of a stopped run."""

from __future__ import annotations

import os
import shlex
import sys

import click

from mlrun_assets.api import execute
from mlrun_assets.cli import (
    command,
    complete_names,
    note,
    override,
    progress,
    require_project,
    say,
    show_columns,
    shown_path,
    with_config,
)
from mlrun_assets.cli.experiments import can_resume, handle
from mlrun_assets.config import SET_VARIABLE, LoadedConfig
from mlrun_assets.experiment import Experiment, slug
from mlrun_assets.records import DecisionRecord, Status

EXIT_CODES = {Status.COMPLETE: 0, Status.FAILED: 1, Status.BLOCKED: 3, Status.CANCELLED: 130}


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
    if resume is None:
        require_project(config)
    from mlrun_assets.runs.stage import resume_experiment

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
    resumed = None if resume is None else resume_experiment(config, resume, note)
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
    if manifest.status in (Status.CANCELLED, Status.FAILED) and can_resume(experiment):
        rows.append(["continue", f"mlrun-assets run --resume {name}"])
    show_columns(rows)
