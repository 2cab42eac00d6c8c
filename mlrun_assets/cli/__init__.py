"""The `mlrun-assets` command.

Exit codes: 0 done (a rejected model is a result), 1 failed, 2 the config or the call is wrong,
3 a run blocked by the data, 130 cancelled. `check-data` exits 1 when the data blocks.

    __main__.py    the command group, and errors shown without a traceback
    run.py         `run`, new or resumed
    data.py        `check-data` and `predict`: rows in, checks or labels out
    production.py  `status`, `open`, `promote`, `rollback`, `diff`, `push`, `schema`
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from mlrun_assets.config import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG_FILE,
    SET_VARIABLE,
    LoadedConfig,
    load_config,
)
from mlrun_assets.markdown import visible


def override(*lines: str) -> None:
    """Replace values of the config, here and in Dagster's processes."""
    if lines:
        before = os.environ.get(SET_VARIABLE, "")
        os.environ[SET_VARIABLE] = "\n".join([before, *lines])


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--config`` and ``--set``, and pass the loaded config as the first argument."""

    @click.option(
        "--set",
        metavar="KEY=VALUE",
        multiple=True,
        expose_value=False,
        callback=lambda _context, _option, lines: override(*lines),
        help="Replace a value of the config, such as training.epochs=2. May be repeated.",
    )
    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help=f"The config file. Default: ${CONFIG_VARIABLE}, else ml_config.yaml.",
    )
    @functools.wraps(command)
    def wrapped(file: Path | None, **options: Any) -> None:
        command(load_config(file), **options)

    return wrapped


def note_defaults(config: LoadedConfig) -> None:
    """Note on standard error that there is no config file."""
    if config.file is None:
        note(f"{config.directory / DEFAULT_CONFIG_FILE}: no such file; using the defaults")


def note(line: str) -> None:
    """Print a line on standard error that is not a result."""
    show(f"note: {line}", err=True)


def show(text: object, *, err: bool = False) -> None:
    """Print text that may hold parts of the data: without its control characters.

    If the reader is gone (`| head`, a closed terminal), the command goes on and ends as it would.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(visible(str(text)), err=err)
    except OSError as error:
        gone = error.errno in (errno.EPIPE, errno.EIO)
        if not gone or stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise
        discard(stream)


def discard(stream: TextIO) -> None:
    """Discard what is still written to ``stream``: Python would fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
