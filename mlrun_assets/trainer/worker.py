"""One of the processes that do a job together.

    python -m torch.distributed.run … -m mlrun_assets.trainer.worker DIRECTORY

``DIRECTORY`` is that of a `Handover`. The first process alone reports and gives the result back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mlrun_assets.errors import MlrunError
from mlrun_assets.trainer.handover import Handover
from mlrun_assets.trainer.job import Report


def work(handover: Handover) -> None:
    """Do the job that was handed over, as the process that RANK names.

    Raises:
        MlrunError: it can't be done; the handover says so too.
    """
    from mlrun_assets.trainer.fine_tuning import fine_tune

    first = os.environ["RANK"] == "0"
    report, close = _reporting() if first else (_silent, _nothing)
    try:
        tuned = fine_tune(handover.job(), report)
    except MlrunError as error:
        with suppress(OSError):  # on a full disk the log, which ends with the error, has to do
            handover.fail(error)
        raise
    if first:
        handover.finish(tuned)
    close()


def _reporting() -> tuple[Report, Callable[[], None]]:
    """What takes a line about the progress, and what says that there will be no more.

    Through Dagster Pipes where Dagster has opened them, else printed.
    """
    from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, open_dagster_pipes

    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ:
        return _print, _nothing
    pipes = open_dagster_pipes()
    return pipes.log.info, pipes.close


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _silent(_: str) -> None:
    pass


def _nothing() -> None:
    pass


def main() -> None:
    """The entry point of a process that torch.distributed.run starts."""
    import torch.distributed as dist

    from mlrun_assets.trainer.launching import exit_with_launcher

    exit_with_launcher()
    try:
        work(Handover(Path(sys.argv[1])))
    except MlrunError as error:
        sys.exit(f"error: {error}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
