"""What is to be trained, on what, to where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mlrun_assets import errors
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import MlrunError, RecordError, TrainingError
from mlrun_assets.files import digest_bytes, digest_directory, write_atomically
from mlrun_assets.records import (
    EnsembleRecord,
    EpochMetrics,
    PretrainingRecord,
    Recipe,
    Record,
    VocabularyTrim,
)

Report = Callable[[str], None]
"""Takes a line about the progress."""


@dataclass(frozen=True)
class PretrainingFiles:
    """What pretraining reads besides the training split, and where it leaves what it did."""

    directory: Path
    unlabelled_file: Path | None = None

    @property
    def checkpoints(self) -> Path:
        """What it could go on from."""
        return self.directory / "checkpoints"

    @property
    def weights(self) -> Path:
        """The weights of the encoder that it has changed."""
        return self.directory / "encoder.safetensors"

    @property
    def finished(self) -> Path:
        """That it is done; written last."""
        return self.directory / "finished.json"


@dataclass(frozen=True)
class FineTuningJob:
    """Inputs of `fine_tune`; paths are absolute.

    ``data_digest`` is of what the splits say. ``train_file`` and ``val_file`` are Parquet with the
    columns ``id``, ``text``, ``label``, and so is ``pretraining.unlabelled_file``, without labels.
    With ``pretraining`` fine-tuning starts from the weights that stand there by then; ``name`` is
    what trackers call it. A job is plain values: it can go to another process.
    """

    recipe: Recipe
    encoder: EncoderSource
    labels: tuple[str, ...]
    data_digest: str
    train_file: Path
    val_file: Path
    checkpoints_dir: Path
    logs_dir: Path
    model_dir: Path
    report_to: tuple[str, ...]
    pretraining: PretrainingFiles | None = None
    name: str | None = None

    @property
    def metrics_file(self) -> Path:
        """What the Trainer logs during fine-tuning, a JSON object a line."""
        return self.logs_dir / "metrics.jsonl"

    @property
    def pretraining_metrics_file(self) -> Path:
        """What the Trainer logs during pretraining, a JSON object a line."""
        return self.logs_dir / "pretraining.jsonl"

    @property
    def finished_file(self) -> Path:
        """The record that the job is done, where it is one of several seeds."""
        return self.model_dir.with_name("finished.json")

    @property
    def digest(self) -> str:
        """The same for jobs that train the same on the same data."""
        parts = (self.recipe.model_dump_json(), self.data_digest, *self.labels)
        return digest_bytes("\n".join(parts).encode())


@dataclass(frozen=True)
class FineTuned:
    """What training did; the model itself stands in the job's ``model_dir``.

    ``ensemble`` is set if the model is an ensemble, ``pretraining`` if the encoder was pretrained
    before; ``peak_memory_mb`` is the sum over the processes that trained.
    """

    history: tuple[EpochMetrics, ...]
    best_epoch: float
    steps: int
    stopped_early: bool
    resumed_from_step: int | None
    passed_over: tuple[str, ...]
    parameters: int
    tokens: int
    seconds: float
    peak_memory_mb: float
    trim: VocabularyTrim | None
    ensemble: EnsembleRecord | None = None
    pretraining: PretrainingRecord | None = None


Runner = Callable[[FineTuningJob], FineTuned]
"""Does a job, wherever that is."""


@dataclass(frozen=True)
class JobFiles:
    """A directory that all processes of a training can read and write."""

    directory: Path

    @classmethod
    def of(cls, job: FineTuningJob) -> JobFiles:
        """Hand ``job`` over, beside its logs; what an earlier one left is removed."""
        handover = cls(job.logs_dir / "workers")
        shutil.rmtree(handover.directory, ignore_errors=True)
        write_atomically(handover.directory / "job.json", TypeAdapter(FineTuningJob).dump_json(job))
        return handover

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.directory / "output.log"

    def report(self, line: str) -> None:
        """Pass on a line about the progress; only one process may."""
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def progress(self) -> list[str]:
        """The lines about the progress so far."""
        try:
            return self._progress.read_text("utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []

    @property
    def _progress(self) -> Path:
        return self.directory / "progress.txt"

    def job(self) -> FineTuningJob:
        """The job, in the process that does it."""
        content = (self.directory / "job.json").read_bytes()
        return TypeAdapter(FineTuningJob).validate_json(content)

    def finish(self, tuned: FineTuned) -> None:
        """Give the result back."""
        content = TypeAdapter(FineTuned).dump_json(tuned)
        write_atomically(self.directory / "result.json", content)

    def fail(self, error: MlrunError) -> None:
        """Give an error back; the first one counts, others follow from it."""
        said = json.dumps({"kind": type(error).__name__, "message": str(error)})
        if not self.failed:
            write_atomically(self.directory / "error.json", said)

    @property
    def failed(self) -> bool:
        return (self.directory / "error.json").exists()

    def outcome(self) -> FineTuned:
        """The result, once all processes have ended.

        Raises:
            TrainingError: a process failed, or ended without a word.
            EncoderError: the encoder can't be loaded.
        """
        if self.failed:
            said = json.loads((self.directory / "error.json").read_bytes())
            raise getattr(errors, said["kind"])(said["message"])
        try:
            content = (self.directory / "result.json").read_bytes()
        except FileNotFoundError:
            raise TrainingError(
                f"the training processes ended without a result; what they said last stands in "
                f"{self.log}. One that was killed (exit code -9) commonly was out of memory: "
                "lower training.num_workers and `mlrun-assets run --resume` this experiment, which "
                "continues from its newest checkpoint, or start a new run with a smaller "
                "training.batch_size"
            ) from None
        return TypeAdapter(FineTuned).validate_json(content)


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
        """Macro-F1 of the model that may be deployed: of the ensemble where there is one."""
        ensemble = self.tuned.ensemble
        return ensemble.val_f1_ensemble if ensemble else self.best.val_f1_macro

    @property
    def val_accuracy(self) -> float:
        """Accuracy of the same model."""
        ensemble = self.tuned.ensemble
        return ensemble.val_accuracy_ensemble if ensemble else self.best.val_accuracy


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
