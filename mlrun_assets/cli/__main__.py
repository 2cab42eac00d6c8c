"""The command group, and its entry point: errors are shown without a traceback."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

from mlrun_assets.cli import HELP_OPTIONS, discard, say
from mlrun_assets.cli.data import check_data, predict
from mlrun_assets.cli.experiments import compare, list_versions, open_report, runs, show_run, status
from mlrun_assets.cli.run import promote, push, rollback, run, schema, ui
from mlrun_assets.cli.start import init, split
from mlrun_assets.errors import MlrunError, message_of


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        """In the order of work."""
        return list(self.commands)


@click.group(
    cls=_Commands,
    help="Train, evaluate and deploy text classifiers for low-resource languages.",
    context_settings=HELP_OPTIONS,
)
@click.version_option(package_name="mlrun-assets")
def commands() -> None:
    """All commands."""


for command in (
    *(
        init,
        split,
        check_data,
        run,
        ui,
        status,
        runs,
        show_run,
        open_report,
        compare,
        promote,
        list_versions,
        rollback,
    ),
    *(predict, push, schema),
):
    commands.add_command(command)


def main() -> None:
    """Run a command and exit with its code."""
    gc.set_threshold(10_000)  # a fifth less time for the imports
    # The next file that is opened would get the number of a closed standard stream, and the output
    # of libraries.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores it
            signal.signal(number, _like_ctrl_c)
    try:
        code = _call()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                discard(stream)
        gc.freeze()  # Python would look at a million objects before it exits: 2 s
    sys.exit(code)


def _call() -> int:
    """Run a command; print an error of this package or of the file system as one message."""
    try:
        commands(standalone_mode=False)
    except MlrunError as error:
        say(f"error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        say(f"error: {message_of(error)}", err=True)
        return 1
    except click.ClickException as error:
        with suppress(BrokenPipeError):
            error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        say("cancelled", err=True)
        return 130
    return 0


def _like_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does now: Dagster changes that, and in a background job it may do nothing."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)


if __name__ == "__main__":
    main()
