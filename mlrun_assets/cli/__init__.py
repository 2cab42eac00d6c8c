"""The `mlrun-assets` command.

Exit codes: 0 done (a rejected model is a result), 1 failed, 2 the config or the call is wrong,
3 a run blocked by the data, 130 cancelled. `check-data` exits 1 when the data blocks.

    __main__.py     the command group, and errors shown without a traceback
    run.py          `run`, new or resumed; `ui`, `promote`, `rollback`, `push`, `schema`
    experiments.py  `status`, `runs`, `show`, `open`, `versions`, `compare`: they change nothing
    start.py        `init` and `split`: a config for one's own rows, and their splits
    data.py         `check-data` and `predict`: rows in, checks or labels out
"""

from __future__ import annotations

import errno
import functools
import glob
import json
import math
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate, chain
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
from mlrun_assets.errors import ConfigError, MlrunError
from mlrun_assets.markdown import clean, visible
from mlrun_assets.records import SPLITS


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


HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


def command(name: str, help: str, *examples: str) -> Callable[..., click.Command]:  # noqa: A002
    """A command with examples in its help; the list of commands shows the first sentence."""
    text = {"help": help, "epilog": "\n".join(examples)}
    return click.command(name, cls=_Command, context_settings=HELP_OPTIONS, **text)


class _Command(click.Command):
    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, a line each."""
        with formatter.section("Examples"):
            for example in (self.epilog or "").splitlines():
                formatter.write_text(f"mlrun-assets {example}")


def as_json(decorated: Callable[..., None]) -> Callable[..., None]:
    """Add ``--json``."""
    option = click.option("--json", is_flag=True, help="Print JSON (docs/command-line.md).")
    return option(decorated)


def complete_names(context: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """The names and ids of experiments that begin with ``typed``, for the completion of a shell."""
    from mlrun_assets.experiment import all_experiments

    try:
        directory = load_config(context.params.get("file")).experiments_dir
    except MlrunError:
        return []
    manifests = [each.manifest for each in all_experiments(directory)]
    names = dict.fromkeys(chain.from_iterable((each.name, each.id) for each in manifests))
    return [name for name in names if name.startswith(typed)]


def require_project(config: LoadedConfig) -> None:
    """Note on standard error that there is no config file.

    Raises:
        ConfigError: there are no data files either; or those of the config are not made yet.
    """
    paths = list(chain.from_iterable(map(config.settings.data.paths, SPLITS)))
    # os.path accepts every string; pathlib raises for some, such as `~nobody`.
    places = (os.path.join(config.directory, os.path.expanduser(path)) for path in paths)  # noqa: PTH111, PTH118
    made = any(map(os.path.exists, places)) or any(
        glob.has_magic(path) or "://" in path for path in paths
    )
    if config.file is None and not made:
        raise ConfigError(
            f"{config.directory}: no ml_config.yaml here; `mlrun-assets init` starts a "
            "project with sample rows, `mlrun-assets init --from FILE` one with your own"
        )
    if not made:
        raise ConfigError(
            f"{config.file}: none of the data files exists, such as {paths[0]}; "
            "`mlrun-assets split FILE` makes them of one file of rows, or correct data.train_path, "
            "val_path and test_path"
        )
    if config.file is None:
        note(f"{config.directory / DEFAULT_CONFIG_FILE}: no such file; using the defaults")


def note(line: str) -> None:
    """Print a line on standard error that is not a result."""
    say(f"note: {line}", err=True)


def show(text: object, *, err: bool = False) -> None:
    """Print text that may hold parts of the data: without its control characters."""
    _write(visible(str(text)), err=err)


@contextmanager
def progress(doing: str = "loading", *, in_lines: bool = True) -> Iterator[None]:
    """Show the progress of the block on standard error: live on a terminal, else in lines.

    ``in_lines``: not only on a terminal.
    """
    from mlrun_assets.progress import PlainText, Terminal, shown_by

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        view = PlainText()
        if in_lines:
            view.say("", doing)
        with shown_by(view) if in_lines else nullcontext():
            yield
        return
    # Dagster redirects standard error itself.
    own = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8")
    with own, Terminal(own, doing) as terminal, shown_by(terminal):
        yield


def shown_path(path: Path) -> str:
    """The path; on a terminal as it is called from here."""
    here = Path.cwd()
    near = sys.stdout.isatty() and path.is_relative_to(here)
    return str(path.relative_to(here) if near else path)


def say(text: str, *, err: bool = False) -> None:
    """Print sentences, as `show`: on a terminal wrapped between words."""
    if (sys.stderr if err else sys.stdout).isatty():
        width = shutil.get_terminal_size().columns
        wrapped = (
            textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
            for line in visible(text).splitlines()
        )
        text = "\n".join(chain.from_iterable(wrapped))
    show(text, err=err)


def show_json(value: object) -> None:
    """Print a value as JSON; a number that JSON lacks becomes null."""
    show(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


STYLES = {
    **dict.fromkeys(("APPROVED", "passed", "now"), "green"),
    **dict.fromkeys(("REJECTED", "BLOCKS", "Failed", "Blocked"), "bold red"),
    **dict.fromkeys(("INCONCLUSIVE", "warns", "Cancelled", "Interrupted", "Partial"), "yellow"),
}


def show_columns(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), needed: int | None = None
) -> None:
    """Print rows in columns: on a terminal in colour and wrapped to its width.

    A cell that is one of `STYLES` gets its colour, unless NO_COLOR is set. Columns after the first
    ``needed`` are left out if the terminal is too narrow for them; None: all are needed.
    """
    cells = [[clean(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if not sys.stdout.isatty():
        for row in cells:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            show(line.rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    ends = list(accumulate(width + 2 for width in widths))
    kept = max(needed or len(ends), sum(end - 2 <= console.width for end in ends))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header))
    for place in range(kept):
        first = place == 0 and kept < 4
        table.add_column(header[place] if header else "", overflow="fold", no_wrap=first)
    for row in cells[bool(header) :]:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row[:kept]))
    with console.capture() as drawn:
        console.print(table)
    _write("\n".join(line.rstrip() for line in drawn.get().splitlines()))
    if kept < len(ends):
        note(f"{', '.join(header[kept:])}: not shown; use a wider terminal, or --json")


def _write(text: str, *, err: bool = False) -> None:
    """Print ``text``. If the reader is gone (`| head`, a closed terminal), go on without it."""
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
    except OSError as error:
        gone = error.errno in (errno.EPIPE, errno.EIO)
        if not gone or stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise
        discard(stream)


def discard(stream: TextIO) -> None:
    """Discard what is still written to ``stream``: Python would fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
