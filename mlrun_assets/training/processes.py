"""Backend ``torchrun``, and the launcher that all jobs in other processes use.

No process outlives the one that launched it.
"""

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
from mlrun_assets.training.job import FineTuningResult, JobFiles
from mlrun_assets.types import ProgressCallback

STOP_SECONDS = 6
TORCHRUN_STOP_SECONDS = 4
# How often the launcher reads the progress lines of the job.
PROGRESS_SECONDS = 0.5

# torchrun


def train_with_torchrun(
    files: JobFiles, workers: int, progress: ProgressCallback
) -> FineTuningResult:
    """Run the job with ``workers`` processes: with GPUs one GPU each and NCCL, otherwise gloo."""
    limit = int(os.environ.get("OMP_NUM_THREADS") or sys.maxsize)
    threads = min(threads_per_worker(workers), limit)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={workers}",
        f"--shutdown-timeout={TORCHRUN_STOP_SECONDS}",
        *("-m", "mlrun_assets.training.processes", str(files.directory)),
    ]
    return launch(command, files, {"OMP_NUM_THREADS": str(threads)}, progress)


def check_torchrun(workers: int) -> None:
    """Check that every worker has a GPU if the machine has GPUs.

    Raises:
        TrainingError: there are fewer GPUs than workers.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < workers:
        raise TrainingError(
            f"training.num_workers is {workers}, and this machine has {torch.cuda.device_count()} "
            "GPUs: lower it, or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )


def threads_per_worker(workers: int) -> int:
    """The cores of this machine that each of ``workers`` processes may use."""
    return max(1, usable_cpus() // workers)


# The launching process


def launch(
    command: list[str], files: JobFiles, env: Mapping[str, str], progress: ProgressCallback
) -> FineTuningResult:
    """Run ``command`` until the job is done; its output goes to the job's log.

    The command runs in a session of its own, so that Ctrl-C in a terminal reaches this process
    only, which passes it on once. Its standard input stays open while this process lives: see
    `exit_with_launcher`. Errors are those of `JobFiles.outcome`.
    """
    with (
        files.log.open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env, COLUMNS_VARIABLE: ""},  # a log file has no columns
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(process, files, progress)
        except BaseException:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise
    return files.outcome()


def _wait(process: subprocess.Popen[bytes], files: JobFiles, progress: ProgressCallback) -> None:
    """Pass on progress lines until the process ends."""
    passed_on, running = 0, True
    while running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PROGRESS_SECONDS)
            running = False
        lines = files.progress_lines()
        for line in lines[passed_on:]:
            progress(line)
        passed_on = len(lines)


# The launched processes


def work(files: JobFiles) -> None:
    """Run the job in the process with the rank of the variable RANK.

    Raises:
        MlrunError: the job failed; the error is also recorded in ``files``.
    """
    from mlrun_assets.training.fine_tuning import fine_tune

    first = os.environ["RANK"] == "0"
    try:
        result = fine_tune(files.job(), files.add_progress if first else lambda _: None)
    except MlrunError as error:
        with suppress(OSError):  # on a full disk only the log has the error
            files.fail(error)
        raise
    if first:
        files.finish(result)


def exit_with_launcher() -> None:
    """End this process as soon as its launcher is gone, for whatever reason.

    Only the launcher holds the other end of the standard input, and it never writes to it.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # Ray ends its own processes
        time.sleep(STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="exit-with-launcher", daemon=True).start()


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
