"""Commands that show, compare, move or copy the production model; and ``schema``."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from contextlib import suppress

import click

from mlrun_assets.cli import show, with_config
from mlrun_assets.config import LoadedConfig, json_schema
from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment import all_experiments, find_experiment, is_locked
from mlrun_assets.records import Status


@click.command(help="Deploy the model of EXPERIMENT (its id or name).")
@click.argument("experiment")
@click.option(
    "--reason",
    help="The reason. Required if the verdict is not APPROVED or production has moved since.",
)
@with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """Deploy the model and print what changed."""
    from mlrun_assets.runs.promotion import promote_by_hand, user_name

    found = find_experiment(config.experiments_dir, experiment)
    show(promote_by_hand(found, config, reason, user_name()).sentence)


@click.command(help="Move production back to an earlier version.")
@click.option("--to", help="The version. Default: the previous one.")
@click.option("--reason", required=True, help="The reason, for the history.")
@with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """Restore the version and print what changed."""
    from mlrun_assets.runs.promotion import roll_back, user_name

    show(roll_back(config, to, reason, user_name()).sentence)


@click.command(
    help="Compare two models: versions of production or experiments. With one name, compare "
    "production with it; with none, the previous version with production."
)
@click.argument("models", nargs=-1, metavar="[A] [B]")
@with_config
def diff(config: LoadedConfig, models: tuple[str, ...]) -> None:
    """Print the differences; change nothing."""
    from mlrun_assets.production.diff import list_differences, two_sides

    if len(models) > 2:
        raise click.UsageError(f"diff compares two models, not {len(models)}")
    show(list_differences(*two_sides(config, models)))


@click.command(
    help="Copy the production model to TARGET. TARGET is a directory (`./model`) or a Hub "
    "repository (`user/name`, with the token in HF_TOKEN). The repository then contains only this "
    "model and its card; its earlier content stays in its history. No data is pushed."
)
@click.argument("target")
@click.option("--version", help="A version or an experiment. Default: the production model.")
@click.option("--public", is_flag=True, help="Make the repository public.")
@with_config
def push(config: LoadedConfig, target: str, version: str | None, public: bool) -> None:
    """Copy the model and print where it is."""
    from mlrun_assets.production import publishing

    show(publishing.push(config, target, version, public=public))


@click.command(help="Show production, the latest runs and open tech debt.")
@click.option("--limit", default=10, show_default=True, help="Number of runs to show.")
@with_config
def status(config: LoadedConfig, limit: int) -> None:
    """Print production, runs and tech debt; change nothing."""
    from mlrun_assets.production.pointer import read_production
    from mlrun_assets.production.versions import last_move_to
    from mlrun_assets.registries.tech_debt import read_open_debt
    from mlrun_assets.runs.closing import run_summary

    serving = read_production(config.production_dir)
    if serving:
        move = last_move_to(config.production_dir, serving.version)
        since = f", since {move.when}" if move else ""
    show(f"production  {serving.version + since if serving else 'nothing deployed yet'}")
    for experiment in all_experiments(config.experiments_dir)[:limit]:
        manifest = experiment.manifest
        summary = run_summary(experiment, config, manifest.error)
        with suppress(OSError):  # users who may not write there can't see the lock
            if manifest.status is Status.RUNNING and not is_locked(experiment.directory):
                summary += f"; was killed; resume with `mlrun-assets run --resume {experiment.id}`"
        show(f"{manifest.status:<11} {experiment.id}  {summary}")
    for item in read_open_debt(config.reports_dir):
        show(f"TD-{item.number:03d}      {item.impact:<7} {item.description}")


@click.command("open", help="Open the report of RUN (its id or name) in a browser.")
@click.argument("run", required=False)
@with_config
def open_report(config: LoadedConfig, run: str | None) -> None:
    """Print the path of the HTML report, of the latest run that has one, and open it."""
    from mlrun_assets.registries.registry import report_file

    if run is None:
        experiments = all_experiments(config.experiments_dir)
    else:
        experiments = [find_experiment(config.experiments_dir, run)]
    names = [experiment.manifest.report for experiment in experiments]
    pages = [report_file(config.reports_dir, name).with_suffix(".html") for name in names]
    page = next((page for page in pages if page.is_file()), None)
    if page is None:
        where = pages[0] if run else config.reports_dir
        raise ExperimentError(f"{where}: no report yet; start a run with `mlrun-assets run`")
    show(page)
    screens = {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if screens or sys.platform != "linux":
        webbrowser.open(page.absolute().as_uri())


@click.command(help="Print the JSON Schema of ml_config.yaml, for editors.")
def schema() -> None:
    """Print the schema."""
    show(json.dumps(json_schema(), indent=2))
