"""Backend ``ray``: Ray Train on this machine, or on a cluster that shares the experiments' disk.

    python -m mlrun_assets.training.ray_train DIRECTORY WORKERS [ADDRESS]

Ray's driver runs in a process of its own, as it takes over signals and standard streams.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlrun_assets.errors import MlrunError, TrainingError
from mlrun_assets.training.job import FineTuningResult, JobFiles
from mlrun_assets.training.processes import exit_with_launcher, launch, threads_per_worker, work
from mlrun_assets.types import ProgressCallback

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
    command = [sys.executable, "-m", __name__, str(files.directory), str(workers)]
    return launch([*command, *([address] if address else [])], files, QUIET, progress)


# Checks before the training


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


# The driver's process


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


def main() -> None:
    """The entry point of the driver's process."""
    exit_with_launcher()
    directory, workers, *address = sys.argv[1:]
    files = JobFiles(Path(directory))
    try:
        _drive(files, int(workers), address[0] if address else None)
    except MlrunError as error:
        files.fail(error)
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # By this name, not as __main__, the workers can import the function that they run.
    from mlrun_assets.training.ray_train import main as run

    run()
