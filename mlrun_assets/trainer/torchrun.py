"""A job done by several processes of this machine: torch.distributed.run."""

from __future__ import annotations

import os
import sys

from mlrun_assets.errors import TrainingError
from mlrun_assets.trainer.handover import Handover
from mlrun_assets.trainer.job import FineTuned, Report
from mlrun_assets.trainer.launching import launch, threads_per_worker

SHUTDOWN_SECONDS = 4


def train_with_torchrun(handover: Handover, workers: int, report: Report) -> FineTuned:
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
        *("-m", "mlrun_assets.trainer.worker", str(handover.directory)),
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
