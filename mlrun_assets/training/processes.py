"""A job done by other processes, none of which outlives the one that launched it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mlrun_assets.config import COLUMNS_VARIABLE
from mlrun_assets.errors import MlrunError, TrainingError
from mlrun_assets.machine import usable_cpus
from mlrun_assets.training.job import FineTuned, JobFiles, Report

STOP_SECONDS = 6
# How often lines about the progress are looked for.
PROGRESS_SECONDS = 0.5


def launch(
    command: list[str], handover: JobFiles, env: Mapping[str, str], report: Report
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


def _wait(process: subprocess.Popen[bytes], handover: JobFiles, report: Report) -> None:
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


SHUTDOWN_SECONDS = 4


def train_with_torchrun(handover: JobFiles, workers: int, report: Report) -> FineTuned:
    """Do the job with ``workers`` processes: NCCL and a GPU each where there are GPUs, else gloo.

    Raises:
        TrainingError: training can't go on.
        EncoderError: the encoder can't be loaded.
    """
    threads = min(
        threads_per_worker(workers), int(os.environ.get("OMP_NUM_THREADS") or sys.maxsize)
    )
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={workers}",
        f"--shutdown-timeout={SHUTDOWN_SECONDS}",
        *("-m", "mlrun_assets.training.processes", str(handover.directory)),
    ]
    return launch(command, handover, {"OMP_NUM_THREADS": str(threads)}, report)


def check_torchrun(workers: int) -> None:
    """Make sure that each worker can have a GPU where there are GPUs.

    Raises:
        TrainingError: there are fewer.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < workers:
        raise TrainingError(
            f"training.num_workers is {workers}, and this machine has {torch.cuda.device_count()} "
            "GPUs: lower it, or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )


def work(handover: JobFiles) -> None:
    """Do the job that was handed over, as the process that RANK names.

    Raises:
        MlrunError: it can't be done; the handover says so too.
    """
    from mlrun_assets.training.fine_tuning import fine_tune

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

    exit_with_launcher()
    try:
        work(JobFiles(Path(sys.argv[1])))
    except MlrunError as error:
        sys.exit(f"error: {error}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
