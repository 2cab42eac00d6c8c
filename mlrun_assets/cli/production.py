"""Commands that move or copy the production model; and ``schema``."""

from __future__ import annotations

import json

import click

from mlrun_assets.cli import command, complete_names, progress, say, show, shown_path, with_config
from mlrun_assets.config import LoadedConfig, json_schema
from mlrun_assets.experiment import find_experiment


@command(
    "promote",
    "Deploy the model of EXPERIMENT, its name or id.",
    "promote baseline-v2",
    'promote baseline-v2 --reason "best on the radio texts"',
)
@click.argument("experiment", shell_complete=complete_names)
@click.option(
    "--reason",
    help="The reason. Required if the verdict is not APPROVED or production has moved since.",
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
    "Move production back to an earlier version.",
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
@click.option("--public", is_flag=True, help="Make the repository public.")
@with_config
def push(config: LoadedConfig, target: str, version: str | None, public: bool) -> None:
    """Copy the model and print where it is."""
    from mlrun_assets.production import publishing

    with progress("push", in_lines=False):
        place = publishing.push(config, target, version, public=public)
    show(place)


@command("schema", "Print the JSON Schema of ml_config.yaml, for editors.", "schema > schema.json")
def schema() -> None:
    """Print the schema."""
    show(json.dumps(json_schema(), indent=2))
