"""``mlrun-assets``: one ML run, and the model in production, from a terminal.

Exit codes: 0 done (a rejected model is a result), 1 failed, 2 the config or the call is wrong,
3 a run blocked by the data, 130 cancelled. ``check-data`` has one question to answer: it exits 1
when the data blocks.

__main__.py    `python -m mlrun_assets.cli.__main__`
options.py     what several commands take and say
running.py     run
data.py        check-data
overview.py    status, schema
production.py  promote, rollback, diff, push
prediction.py  predict
"""

from __future__ import annotations

import os
import sys

import click

from mlrun_assets.cli.data import check_data, predict
from mlrun_assets.cli.production import diff, promote, push, rollback, schema, status
from mlrun_assets.cli.run import run
from mlrun_assets.errors import MlrunError, message_of


@click.group(help="One ML run for a low-resource language, from data to a deployment decision.")
@click.version_option(package_name="mlrun-assets")
def commands() -> None:
    """All commands."""


for command in (run, check_data, status, promote, rollback, diff, push, predict, schema):
    commands.add_command(command)


def main() -> None:
    """The entry point: errors of ours and of the file system are shown without a traceback."""
    _open_standard_streams()
    try:
        commands(standalone_mode=False)
    except MlrunError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"error: {message_of(error)}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cancelled", err=True)
        sys.exit(130)


def _open_standard_streams() -> None:
    """Let a standard stream that was closed be empty, and swallow what is written to it.

    Its number would go to the next file that is opened, and what a library prints into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


if __name__ == "__main__":
    main()
