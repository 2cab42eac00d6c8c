"""One of the processes that do a job together.

    python -m torch.distributed.run … -m mlrun_assets.trainer.worker DIRECTORY

``DIRECTORY`` is that of a `Handover`. The first process alone reports and gives the result back.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from mlrun_assets.errors import MlrunError
from mlrun_assets.trainer.handover import Handover


def work(handover: Handover) -> None:
    """Do the job that was handed over, as the process that RANK names.

    Raises:
        MlrunError: it can't be done; the handover says so too.
    """
    from mlrun_assets.trainer.fine_tuning import fine_tune

    first = os.environ["RANK"] == "0"
    try:
        tuned = fine_tune(handover.job(), handover.report if first else _silent)
    except MlrunError as error:
        with suppress(OSError):  # on a full disk the log, which ends with the error, has to do
            handover.fail(error)
        raise
    if first:
        handover.finish(tuned)


def _silent(_: str) -> None:
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
