"""What trains: this process, several of this machine, or a Ray cluster."""

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


def runner(training: TrainingConfig, report: Report) -> Runner:
    """What does a job on the backend that the config names."""

    def run(job: FineTuningJob) -> FineTuned:
        if training.backend == "inline":
            from mlrun_assets.trainer.fine_tuning import fine_tune

            return fine_tune(job, report)
        check_backend(training)
        handover = Handover.of(job)
        if training.backend == "ray":
            return train_with_ray(handover, training.num_workers, training.ray_address, report)
        return train_with_torchrun(handover, training.num_workers, report)

    return run
