"""A job done by Ray Train, on this machine or on a cluster whose machines share the experiments.

    python -m mlrun_assets.training.ray_train DIRECTORY WORKERS [ADDRESS]

Ray runs in a process of its own: it takes over signals and the standard streams of its driver.
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
from mlrun_assets.training.job import FineTuned, JobFiles, Report
from mlrun_assets.training.processes import exit_with_launcher, launch, threads_per_worker

MAX_RESTARTS = 3
REACH_SECONDS = 5
# Ray answers in two, most of which its own import takes.
ANSWER_SECONDS = 15
REMEDY = (
    "give the port of `ray start --head` (6379, unless it was told another one; neither the "
    "dashboard's nor Ray Client's), start a cluster there, or remove the key to train on this "
    "machine"
)
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def train_with_ray(
    handover: JobFiles, workers: int, address: str | None, report: Report
) -> FineTuned:
    """Do the job with ``workers`` processes of the cluster at ``address``; None: one of its own.

    When a worker dies, all are started again and continue from the newest sound checkpoint.

    Raises:
        TrainingError: training can't go on.
        EncoderError: the encoder can't be loaded.
    """
    command = [sys.executable, "-m", __name__, str(handover.directory), str(workers)]
    return launch([*command, *([address] if address else [])], handover, QUIET, report)


def check_ray(address: str | None) -> None:
    """Make sure that Ray is installed and that a Ray cluster answers at ``address``.

    Raises:
        TrainingError: it is not, or none does.
    """
    if importlib.util.find_spec("ray") is None:
        raise TrainingError(
            "training.backend is ray, and Ray is not installed: pip install 'mlrun-assets[ray]', "
            "or choose torchrun"
        )
    if address:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
        except OSError as error:
            raise _unreachable(address, f"nothing answers there: {error}") from None
        _ask_cluster(address)


def _ask_cluster(address: str) -> None:
    """Have Ray's own command ask; a driver of Ray waits for minutes for what is no cluster."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **QUIET},
            timeout=ANSWER_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        said = f"something listens there, and gave no answer of a Ray cluster in {ANSWER_SECONDS} s"
        raise _unreachable(address, said) from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        said = f"what listens there is no Ray cluster that can be used: {lines[-1]}"
        raise _unreachable(address, said) from None


def _unreachable(address: str, said: str) -> TrainingError:
    """The error for a cluster that can't be used, by the name that it has in the config."""
    if "AuthenticationError" in said:
        return TrainingError(
            f"training.ray_address {address}: {said} Set RAY_AUTH_MODE=token for the run too."
        )
    return TrainingError(f"training.ray_address {address}: {said}; {REMEDY}")


def _drive(handover: JobFiles, workers: int, address: str | None) -> None:
    import ray

    try:
        if address:
            ray.init(address=address, log_to_driver=True)
        else:
            cores = threads_per_worker(1)
            ray.init(num_cpus=max(cores, workers), include_dashboard=False, log_to_driver=True)
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        if address:
            said = f"Ray can't connect to it: {type(error).__name__}: {error}"
            raise _unreachable(address, said) from error
        raise TrainingError(f"Ray can't be started: {error}") from error
    there = ray.cluster_resources()
    use_gpu = there.get("GPU", 0) > 0
    for kind in ("CPU", "GPU") if use_gpu else ("CPU",):
        if there.get(kind, 0) < workers:
            raise TrainingError(
                f"training.num_workers is {workers}, and the Ray cluster has "
                f"{there.get(kind, 0):.0f} {kind}s, one for each worker: lower it"
            )
    _fit(handover, workers, use_gpu, 1 if address else threads_per_worker(workers))


def _fit(handover: JobFiles, workers: int, use_gpu: bool, cores: int) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        _train,
        train_loop_config={"directory": str(handover.directory)},
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": cores}
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(handover.directory / "ray"),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
        ),
    ).fit()


def _train(settings: dict[str, Any]) -> None:
    """What each worker runs, and runs again after another one died."""
    from mlrun_assets.training.processes import work

    handover = JobFiles(Path(settings["directory"]))
    if handover.failed:
        return  # an error of ours: it would only come again
    work(handover)


def main() -> None:
    """The entry point of the process that drives Ray."""
    exit_with_launcher()
    directory, workers, *address = sys.argv[1:]
    handover = JobFiles(Path(directory))
    try:
        _drive(handover, int(workers), address[0] if address else None)
    except MlrunError as error:
        handover.fail(error)
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    # By this name, and not as __main__, the workers can import what they run.

    main()
