"""What several commands take and say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from mlrun_assets.config import CONFIG_VARIABLE, DEFAULT_CONFIG_FILE, LoadedConfig, load_config

P = ParamSpec("P")


def with_config(command: Callable[P, None]) -> Callable[..., None]:
    """Adds ``--config`` and hands the config that it leads to over as the first argument."""

    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help=f"The config file; unset: ${CONFIG_VARIABLE}, else ml_config.yaml.",
    )
    @functools.wraps(command)
    def wrapped(file: Path | None, *args: P.args, **kwargs: P.kwargs) -> None:
        command(load_config(file), *args, **kwargs)  # type: ignore[arg-type]

    return wrapped


def note_defaults(config: LoadedConfig) -> None:
    """Say that there is no config file, where the command works with the data that it names."""
    if config.file is None:
        note(f"{config.directory / DEFAULT_CONFIG_FILE}: no such file, so the defaults hold")


def note(line: str) -> None:
    """Say something on standard error that is no result."""
    click.echo(f"note: {line}", err=True)
