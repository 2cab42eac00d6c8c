"""One training job as plain values, its files for other processes, and its result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter

from mlrun_assets import errors
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import MlrunError, RecordError, TrainingError
from mlrun_assets.files import digest_bytes, digest_directory, write_atomically
from mlrun_assets.records import (
    EpochMetrics,
    Recipe,
    Record,
    VocabularyTrim,
)
from mlrun_assets.types import ProgressCallback


@dataclass(frozen=True)
class FineTuningJob:
    """Inputs of `fine_tune`; plain values with absolute paths, so it can go to another process.

    ``data_digest`` is the digest of the splits' content. ``train_file`` and ``val_file`` are
    Parquet with the columns ``id``, ``text``, ``label``. ``name`` is the run's name in trackers.
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
    name: str | None = None

    @property
    def digest(self) -> str:
        """Equal for jobs with the same recipe and data."""
        parts = (self.recipe.model_dump_json(), self.data_digest, *self.labels)
        return digest_bytes("\n".join(parts).encode())


@dataclass(frozen=True)
class FineTuningResult:
    """The numbers of a training; the model itself is in the job's ``model_dir``.

    ``tokens`` counts all epochs. ``peak_memory_mb`` is the sum over the training processes.
    """

    history: tuple[EpochMetrics, ...]
    steps: int
    resumed_from_step: int | None
    passed_over: tuple[str, ...]
    tokens: int
    seconds: float
    peak_memory_mb: float
    trim: VocabularyTrim | None


# Runs a job on some backend.
JobRunner: TypeAlias = Callable[[FineTuningJob], FineTuningResult]


# Several seeds


@dataclass(frozen=True)
class TrainedSeed:
    """A job, its result, and the digest of its model directory."""

    job: FineTuningJob
    result: FineTuningResult
    digest: str

    @property
    def last(self) -> EpochMetrics:
        """The metrics of the last epoch, which is kept."""
        return self.result.history[-1]

    @property
    def val_scores(self) -> tuple[float, float]:
        """Macro-F1 and accuracy."""
        return self.last.val_f1_macro, self.last.val_accuracy


def train_seeds(
    jobs: Sequence[FineTuningJob], run: JobRunner, progress: ProgressCallback
) -> list[TrainedSeed]:
    """Train one job after the other, except those that an interrupted run finished.

    The checkpoints of a job are removed once it is recorded as finished.
    """
    trained = []
    for number, job in enumerate(jobs, 1):
        line = f"training: seed {job.recipe.seed}, {number} of {len(jobs)}"
        record = job.model_dir.with_name("finished.json")
        finished = _find_finished(job, record)
        if finished:
            progress(f"{line}, was trained before")
        else:
            progress(line)
            result = run(job)
            output = digest_directory(job.model_dir)
            finished = FinishedFineTuning(job=job.digest, output=output, result=result)
            finished.save(record)
        shutil.rmtree(job.checkpoints_dir, ignore_errors=True)
        trained.append(TrainedSeed(job, finished.result, finished.output))
    return trained


def best_on_val(trained: Sequence[TrainedSeed]) -> TrainedSeed:
    """The seed with the highest val macro-F1; if equal, the one with the lowest val loss."""
    return max(trained, key=lambda each: (each.val_scores[0], -each.last.val_loss))


# Records of finished trainings


class FinishedFineTuning(Record):
    """The record of a finished training, written after its model.

    ``job`` is the digest of the job, ``output`` that of its model directory.
    """

    job: str
    output: str
    result: FineTuningResult


def _find_finished(job: FineTuningJob, file: Path) -> FinishedFineTuning | None:
    """The record in ``file`` if it belongs to ``job`` and the model is unchanged."""
    try:
        finished = FinishedFineTuning.load(file)
        output = digest_directory(job.model_dir)
    except (RecordError, FileNotFoundError):
        return None
    return finished if (finished.job, finished.output) == (job.digest, output) else None


# Jobs of other processes


@dataclass(frozen=True)
class JobFiles:
    """A directory that all processes of a training can read and write."""

    directory: Path

    @classmethod
    def of(cls, job: FineTuningJob) -> JobFiles:
        """Write ``job`` beside its logs, without the files of an earlier attempt."""
        files = cls(job.logs_dir / "workers")
        shutil.rmtree(files.directory, ignore_errors=True)
        write_atomically(files.directory / "job.json", TypeAdapter(FineTuningJob).dump_json(job))
        return files

    @property
    def log(self) -> Path:
        """The output of the processes."""
        return self.directory / "output.log"

    @property
    def _result(self) -> Path:
        return self.directory / "result.json"

    def job(self) -> FineTuningJob:
        content = (self.directory / "job.json").read_bytes()
        return TypeAdapter(FineTuningJob).validate_json(content)

    def add_progress(self, line: str) -> None:
        """Pass on a progress line; only one process may call this."""
        with (self.directory / "progress.txt").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def progress_lines(self) -> list[str]:
        """All complete progress lines so far; they must never stop a training."""
        try:
            content = (self.directory / "progress.txt").read_bytes()
        except OSError:
            return []
        return content[: content.rfind(b"\n") + 1].decode("utf-8", "replace").splitlines()

    def finish(self, result: FineTuningResult) -> None:
        write_atomically(self._result, TypeAdapter(FineTuningResult).dump_json(result))

    def fail(self, error: MlrunError) -> None:
        """Record an error; the first one is kept, as later ones follow from it."""
        if not self.error.exists():
            content = json.dumps({"kind": type(error).__name__, "message": str(error)})
            write_atomically(self.error, content)

    @property
    def error(self) -> Path:
        """The first error of the processes."""
        return self.directory / "error.json"

    def outcome(self) -> FineTuningResult:
        """The result, once all processes have ended.

        Raises:
            TrainingError: a process failed, or ended without a result.
            EncoderError: the encoder can't be loaded.
        """
        if self.error.exists():
            error = json.loads(self.error.read_bytes())
            raise getattr(errors, error["kind"])(error["message"])
        if not self._result.exists():
            raise TrainingError(
                f"the training processes ended without a result; {self.log} has their last output. "
                "A killed process (exit code -9) usually ran out of memory: lower "
                "training.num_workers and `mlrun-assets run --resume` this experiment, which "
                "continues from its newest checkpoint, or start a new run with a smaller "
                "training.batch_size"
            )
        return TypeAdapter(FineTuningResult).validate_json(self._result.read_bytes())
