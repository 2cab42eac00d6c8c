"""Several seeds of one recipe: each is trained once, whatever interrupts the others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from mlrun_assets.errors import RecordError
from mlrun_assets.files import digest_directory
from mlrun_assets.records import EpochMetrics, Record
from mlrun_assets.trainer.job import FineTuned, FineTuningJob, Report, Runner


class FinishedJob(Record):
    """That a job is done: written after its model, beside it.

    ``job`` is the digest of what was trained, ``model`` that of the model directory.
    """

    job: str
    model: str
    tuned: FineTuned


@dataclass(frozen=True)
class Trained:
    """A job, what training did, and the digest of the model directory."""

    job: FineTuningJob
    tuned: FineTuned
    digest: str

    @property
    def best(self) -> EpochMetrics:
        """The epoch that was kept."""
        return next(each for each in self.tuned.history if each.epoch == self.tuned.best_epoch)

    @property
    def val_f1_macro(self) -> float:
        """Of what is deployed: of the mixture, where the encoder is mixed with n-grams."""
        ensemble = self.tuned.ensemble
        return ensemble.val_f1_mixed if ensemble else self.best.val_f1_macro

    @property
    def val_accuracy(self) -> float:
        """Of the same; of an old mixture only that of its encoder is known."""
        ensemble = self.tuned.ensemble
        mixed = ensemble.val_accuracy_mixed if ensemble else None
        return self.best.val_accuracy if mixed is None else mixed


def train_seeds(jobs: Sequence[FineTuningJob], run: Runner, report: Report) -> list[Trained]:
    """Train the jobs one after the other, without those that an interrupted run had finished.

    Each has directories of its own. Its checkpoints are removed once it is known to be done.
    """
    trained = []
    for number, job in enumerate(jobs, 1):
        said = f"training: seed {job.recipe.seed}, {number} of {len(jobs)}"
        finished = find_finished(job)
        if finished:
            report(f"{said}, was trained before")
        else:
            report(said)
            finished = _finish(job, run(job))
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
        trained.append(Trained(job, finished.tuned, finished.model))
    return trained


def best_on_val(trained: Sequence[Trained]) -> Trained:
    """The one with the highest val macro-F1; of equals, the one with the lowest val loss."""
    return max(trained, key=lambda each: (each.val_f1_macro, -each.best.val_loss))


def find_finished(job: FineTuningJob) -> FinishedJob | None:
    """What is known of a job that is done and whose model is as it was left; None: it is not."""
    try:
        finished = FinishedJob.load(job.finished_file)
    except RecordError:
        return None
    whole = finished.job == job.digest and finished.model == digest_directory(job.model_dir)
    return finished if whole else None


def _finish(job: FineTuningJob, tuned: FineTuned) -> FinishedJob:
    model = digest_directory(job.model_dir)
    finished = FinishedJob(job=job.digest, model=model, tuned=tuned)
    finished.save(job.finished_file)
    return finished
