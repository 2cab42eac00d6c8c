"""The command group, and its entry point: errors are shown without a traceback."""

from __future__ import annotations

import os
import sys

import click

from mlrun_assets.cli import show
from mlrun_assets.cli.data import check_data, predict
from mlrun_assets.cli.production import diff, promote, push, rollback, schema, status
from mlrun_assets.cli.run import run
from mlrun_assets.errors import MlrunError, message_of


@click.group(help="Train, evaluate and deploy text classifiers for low-resource languages.")
@click.version_option(package_name="mlrun-assets")
def commands() -> None:
    """All commands."""


for command in (run, check_data, status, promote, rollback, diff, push, predict, schema):
    commands.add_command(command)


def main() -> None:
    """Run a command; print an error of this package or of the file system as one message."""
    # The next file that is opened would get the number of a closed standard stream, and the output
    # of libraries.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    try:
        commands(standalone_mode=False)
    except MlrunError as error:
        show(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        show(f"error: {message_of(error)}", err=True)
        # If stdout is what failed, Python would exit with 120: pending output goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        show("cancelled", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
