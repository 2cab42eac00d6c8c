"""Training in other processes: torchrun on this machine, or Ray Train here or on a cluster.

    python -m mlrun_assets.training.processes DIRECTORY                    a worker of torchrun
    python -m mlrun_assets.training.processes DIRECTORY WORKERS [ADDRESS]  Ray's driver

Ray's driver runs in a process of its own, as it takes over signals and standard streams. A cluster
shares the experiments' disk. No process outlives the one that launched it.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

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


# Ray

MAX_RESTARTS = 3
CONNECT_SECONDS = 5
# Ray answers within two seconds, most of which its own import takes.
ANSWER_SECONDS = 15
REMEDY = (
    "give the port of `ray start --head` (6379 by default; neither the dashboard's nor Ray "
    "Client's), start a cluster there, or remove the key to train on this machine"
)
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def train_with_ray(
    files: JobFiles, workers: int, address: str | None, progress: ProgressCallback
) -> FineTuningResult:
    """Run the job with ``workers`` processes of the cluster at ``address``; None: a local one.

    If a worker dies, all are restarted and continue from the newest sound checkpoint.
    """
    command = [
        sys.executable,
        "-m",
        "mlrun_assets.training.processes",
        str(files.directory),
        str(workers),
    ]
    return launch([*command, *([address] if address else [])], files, QUIET, progress)


def check_ray(address: str | None, answer_seconds: float = ANSWER_SECONDS) -> None:
    """Check that Ray is installed and that a Ray cluster answers at ``address``.

    Raises:
        TrainingError: Ray is not installed, or no cluster answers within ``answer_seconds``.
    """
    if importlib.util.find_spec("ray") is None:
        raise TrainingError(
            "training.backend is ray, and Ray is not installed: pip install 'mlrun-assets[ray]', "
            "or choose torchrun"
        )
    if address:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise _unreachable(address, f"nothing answers there: {error}") from None
        _ask_cluster(address, answer_seconds)


def _ask_cluster(address: str, answer_seconds: float) -> None:
    """Run Ray's health check: a driver would wait for minutes if the address is no cluster."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **QUIET},
            timeout=answer_seconds,
            check=True,
        )
    except subprocess.TimeoutExpired:
        reason = f"something listens there, but no Ray cluster answered in {answer_seconds:g} s"
        raise _unreachable(address, reason) from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        reason = f"something listens there, but it is no usable Ray cluster: {lines[-1]}"
        raise _unreachable(address, reason) from None


def _unreachable(address: str, reason: str) -> TrainingError:
    """The error for a cluster that can't be used; it names the config's key."""
    token = "AuthenticationError" in reason
    remedy = " Set RAY_AUTH_MODE=token for the run too." if token else f"; {REMEDY}"
    return TrainingError(f"training.ray_address {address}: {reason}{remedy}")


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
            env={**os.environ, **env},
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
    gc.set_threshold(10_000)  # as the command line does: less time for the imports
    import torch.distributed as dist

    exit_with_launcher()
    try:
        work(JobFiles(Path(sys.argv[1])))
    except MlrunError as error:
        sys.exit(f"error: {error}")
    finally:
        gc.freeze()  # no look at all imported objects before Python exits
    dist.destroy_process_group()


# The driver of Ray


def _drive(files: JobFiles, workers: int, address: str | None) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    try:
        if address:
            ray.init(address=address, log_to_driver=True)
        else:
            cores = max(threads_per_worker(1), workers)
            ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=True)
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        if address:
            reason = f"Ray can't connect to it: {type(error).__name__}: {error}"
            raise _unreachable(address, reason) from error
        raise TrainingError(f"Ray can't be started: {error}") from error
    resources = ray.cluster_resources()
    use_gpu = resources.get("GPU", 0) > 0
    for kind in ("CPU", "GPU") if use_gpu else ("CPU",):
        if resources.get(kind, 0) < workers:
            raise TrainingError(
                f"training.num_workers is {workers}, and the Ray cluster has "
                f"{resources.get(kind, 0):.0f} {kind}s, one for each worker: lower it"
            )
    cores = 1 if address else threads_per_worker(workers)
    TorchTrainer(
        _train,
        train_loop_config={"directory": str(files.directory)},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": cores}
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(files.directory / "ray"),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
        ),
    ).fit()


def _train(settings: dict[str, Any]) -> None:
    """The function that every worker runs, and runs again after another worker died."""
    files = JobFiles(Path(settings["directory"]))
    if not files.error.exists():  # our own error would only occur again
        work(files)


def drive() -> None:
    """The entry point of Ray's driver."""
    exit_with_launcher()
    directory, workers, *address = sys.argv[1:]
    files = JobFiles(Path(directory))
    try:
        _drive(files, int(workers), address[0] if address else None)
    except MlrunError as error:
        files.fail(error)
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    if sys.argv[2:]:
        # By this name, not as __main__, the workers can import the function that they run.
        from mlrun_assets.training.processes import drive as main
    main()
