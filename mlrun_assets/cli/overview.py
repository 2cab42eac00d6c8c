"""``mlrun-assets status`` and ``schema``: what there is; they change nothing."""

from __future__ import annotations

import json

import click

from mlrun_assets.cli.options import with_config
from mlrun_assets.config import LoadedConfig, json_schema
from mlrun_assets.experiment_store import Experiment, all_experiments
from mlrun_assets.records import Status


@click.command(help="What is in production, the latest runs and the open tech debt.")
@click.option("--limit", default=10, show_default=True, help="How many runs to show.")
@with_config
def status(config: LoadedConfig, limit: int) -> None:
    """Print what the records say; changes nothing."""
    from mlrun_assets.lifecycle.closing import run_summary
    from mlrun_assets.stages.production import last_move_to, read_production
    from mlrun_assets.stages.tech_debt import read_open_debt

    serving = read_production(config.production_dir)
    if serving:
        move = last_move_to(config.production_dir, serving.version)
        click.echo(f"production  {serving.version}" + (f", since {move.when}" if move else ""))
    else:
        click.echo("production  nothing deployed yet")
    for experiment in all_experiments(config.experiments_dir)[:limit]:
        manifest = experiment.manifest
        said = run_summary(experiment, manifest.error)
        if _was_killed(experiment):
            said += f"; was killed: `mlrun-assets run --resume {experiment.id}` goes on with it"
        click.echo(f"{manifest.status:<11} {experiment.id}  {said}")
    for item in read_open_debt(config.reports_dir):
        click.echo(f"TD-{item.number:03d}      {item.impact:<7} {item.description}")


def _was_killed(experiment: Experiment) -> bool:
    """Whether it runs by its manifest, and no process works on it.

    A person who may not write there can't know.
    """
    from mlrun_assets.lifecycle.holding import is_held

    try:
        return experiment.manifest.status is Status.RUNNING and not is_held(experiment.directory)
    except OSError:
        return False


@click.command(help="The JSON Schema of ml_config.yaml, for editors.")
def schema() -> None:
    """Print the schema."""
    click.echo(json.dumps(json_schema(), indent=2))
