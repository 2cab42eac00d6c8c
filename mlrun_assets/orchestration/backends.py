"""What trains: this process, several of this machine, or a Ray cluster.

The other processes report through Dagster Pipes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mlrun_assets.config import TrainingConfig
from mlrun_assets.trainer.handover import Handover
from mlrun_assets.trainer.job import FineTuned, FineTuningJob, Report, Runner
from mlrun_assets.trainer.ray_train import check_ray, train_with_ray
from mlrun_assets.trainer.torchrun import check_torchrun, train_with_torchrun


def check_backend(training: TrainingConfig) -> None:
    """Make sure that what is to train is there, before anything long starts.

    Raises:
        TrainingError: it is not.
    """
    if training.backend == "ray":
        check_ray(training.ray_address)
    elif training.backend == "torchrun":
        check_torchrun(training.num_workers)


def runner(training: TrainingConfig, context: dg.AssetExecutionContext, report: Report) -> Runner:
    """What does a job on the backend that the config names."""

    def run(job: FineTuningJob) -> FineTuned:
        if training.backend == "inline":
            from mlrun_assets.trainer.fine_tuning import fine_tune

            return fine_tune(job, report)
        check_backend(training)
        handover = Handover.of(job)
        with _pipes(context, handover.directory) as env:
            if training.backend == "ray":
                return train_with_ray(handover, training.num_workers, training.ray_address, env)
            return train_with_torchrun(handover, training.num_workers, env)

    return run


@contextmanager
def _pipes(context: dg.AssetExecutionContext, directory: Path) -> Iterator[Mapping[str, str]]:
    """The environment by which other processes find Dagster, through files in ``directory``."""
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesFileContextInjector(str(directory / "context.json")),
        message_reader=dg.PipesFileMessageReader(str(directory / "messages.jsonl")),
    ) as session:
        yield session.get_bootstrap_env_vars()
