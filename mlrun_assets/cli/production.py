"""``mlrun-assets promote``, ``rollback``, ``diff`` and ``push``: production, and a person."""

from __future__ import annotations

import click

from mlrun_assets.cli.options import with_config
from mlrun_assets.config import LoadedConfig
from mlrun_assets.experiment_store import find_experiment


@click.command(help="Deploy the model of EXPERIMENT (its id or name).")
@click.argument("experiment")
@click.option(
    "--reason",
    help="Why; needed where the verdict is not APPROVED, or production has moved since.",
)
@with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """A person's decision."""
    from mlrun_assets.lifecycle.promoting import mover, promote_by_hand

    found = find_experiment(config.experiments_dir, experiment, ())
    click.echo(promote_by_hand(found, config, reason, mover()).sentence)


@click.command(help="Let the version before, or the one named, serve again.")
@click.option("--to", help="The version; unset: the one that served before.")
@click.option("--reason", required=True, help="Why.")
@with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """A person's way back."""
    from mlrun_assets.lifecycle.promoting import mover, roll_back

    click.echo(roll_back(config, to, reason, mover()).sentence)


@click.command(
    help="What differs between two models, versions of production or experiments. With one name: "
    "between production and it; with none: between the version before and production."
)
@click.argument("models", nargs=-1, metavar="[A] [B]")
@with_config
def diff(config: LoadedConfig, models: tuple[str, ...]) -> None:
    """Print what differs; changes nothing."""
    from mlrun_assets.lifecycle.comparing import two_sides
    from mlrun_assets.reporting.model_diff import list_differences

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
    from mlrun_assets.lifecycle import publishing

    click.echo(publishing.push(config, target, version, public=public))
