"""``mlrun-assets promote``, ``rollback``, ``diff`` and ``push``: production, and a person."""

from __future__ import annotations

import json

import click

from mlrun_assets.cli import with_config
from mlrun_assets.config import LoadedConfig, json_schema
from mlrun_assets.experiment import Experiment, all_experiments, find_experiment
from mlrun_assets.records import Status


@click.command(help="Deploy the model of EXPERIMENT (its id or name).")
@click.argument("experiment")
@click.option(
    "--reason",
    help="Why; needed where the verdict is not APPROVED, or production has moved since.",
)
@with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """A person's decision."""
    from mlrun_assets.production.promotion import mover, promote_by_hand

    found = find_experiment(config.experiments_dir, experiment, ())
    click.echo(promote_by_hand(found, config, reason, mover()).sentence)


@click.command(help="Let the version before, or the one named, serve again.")
@click.option("--to", help="The version; unset: the one that served before.")
@click.option("--reason", required=True, help="Why.")
@with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """A person's way back."""
    from mlrun_assets.production.promotion import mover, roll_back

    click.echo(roll_back(config, to, reason, mover()).sentence)


@click.command(
    help="What differs between two models, versions of production or experiments. With one name: "
    "between production and it; with none: between the version before and production."
)
@click.argument("models", nargs=-1, metavar="[A] [B]")
@with_config
def diff(config: LoadedConfig, models: tuple[str, ...]) -> None:
    """Print what differs; changes nothing."""
    from mlrun_assets.production.diff import list_differences, two_sides

    if len(models) > 2:
        raise click.UsageError(f"diff compares two models, and {len(models)} are named")
    click.echo(list_differences(*two_sides(config, models)))


@click.command(
    help="Copy the model in production, with its card, to TARGET: a directory (`./model`), or a "
    "repository of the Hub (`user/name`), with the token in HF_TOKEN. The repository holds this "
    "model alone afterwards; what it held before is in its history. Nothing of the data is pushed."
)
@click.argument("target")
@click.option("--version", help="A version or an experiment; unset: what is in production.")
@click.option("--public", is_flag=True, help="Let everybody see the repository.")
@with_config
def push(config: LoadedConfig, target: str, version: str | None, public: bool) -> None:
    """Give the model away."""
    from mlrun_assets.production import publishing

    click.echo(publishing.push(config, target, version, public=public))


@click.command(help="What is in production, the latest runs and the open tech debt.")
@click.option("--limit", default=10, show_default=True, help="How many runs to show.")
@with_config
def status(config: LoadedConfig, limit: int) -> None:
    """Print what the records say; changes nothing."""
    from mlrun_assets.production.pointer import read_production
    from mlrun_assets.production.versions import last_move_to
    from mlrun_assets.registries.tech_debt import read_open_debt
    from mlrun_assets.runs.closing import run_summary

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
    from mlrun_assets.experiment import is_locked

    try:
        return experiment.manifest.status is Status.RUNNING and not is_locked(experiment.directory)
    except OSError:
        return False


@click.command(help="The JSON Schema of ml_config.yaml, for editors.")
def schema() -> None:
    """Print the schema."""
    click.echo(json.dumps(json_schema(), indent=2))
