"""``mlrun-assets promote`` and ``rollback``: a person's decisions about production."""

from __future__ import annotations

import getpass

import click

from mlrun_assets.cli.options import with_config
from mlrun_assets.config import LoadedConfig
from mlrun_assets.experiment_store import find_experiment


@click.command(help="Deploy the model of EXPERIMENT (its id or name).")
@click.argument("experiment")
@click.option("--reason", help="Why; needed where the verdict is not APPROVED.")
@with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """A person's decision."""
    from mlrun_assets.lifecycle.promoting import promote_by_hand

    found = find_experiment(config.experiments_dir, experiment, ())
    click.echo(promote_by_hand(found, config, reason, getpass.getuser()).sentence)


@click.command(help="Let the version before, or the one named, serve again.")
@click.option("--to", help="The version; unset: the one that served before.")
@click.option("--reason", required=True, help="Why.")
@with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """A person's way back."""
    from mlrun_assets.lifecycle.promoting import roll_back

    click.echo(roll_back(config, to, reason, getpass.getuser()).sentence)
