"""A job done by other processes, none of which outlives the one that launched it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from mlrun_assets.config import COLUMNS_VARIABLE
from mlrun_assets.machine import usable_cpus
from mlrun_assets.trainer.handover import Handover
from mlrun_assets.trainer.job import FineTuned, Report

STOP_SECONDS = 6
# How often lines about the progress are looked for.
PROGRESS_SECONDS = 0.5


def launch(
    command: list[str], handover: Handover, env: Mapping[str, str], report: Report
) -> FineTuned:
    """Run ``command`` until the job is done; what it prints goes to the handover's log.

    Lines about the progress go to ``report`` while it runs.

    It is in a session of its own, so that Ctrl-C in a terminal comes to this process alone and
    is passed on once. Its standard input says that this process lives: see `exit_with_launcher`.

    Raises:
        TrainingError: a process failed, or ended without a word.
        EncoderError: the encoder can't be loaded.
    """
    with (
        handover.log.open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env, COLUMNS_VARIABLE: ""},  # they write to a log
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(process, handover, report)
        except BaseException:
            _stop(process)
            raise
    return handover.outcome()


def _wait(process: subprocess.Popen[bytes], handover: Handover, report: Report) -> None:
    reported, running = 0, True
    while running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PROGRESS_SECONDS)
            running = False
        lines = handover.progress()
        for line in lines[reported:]:
            report(line)
        reported = len(lines)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def exit_with_launcher() -> None:
    """End this process as soon as the one that launched it is gone, however it went.

    The launcher alone holds the other end of the standard input, and writes nothing to it.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # Ray takes its own processes along
        time.sleep(STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="exit-with-launcher", daemon=True).start()


def threads_per_worker(workers: int) -> int:
    """The cores that each of ``workers`` processes of this machine may use."""
    return max(1, usable_cpus() // workers)
