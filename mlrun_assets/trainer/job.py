"""What is to be trained, on what, to where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.encoders import EncoderSource
from mlrun_assets.files import digest_bytes
from mlrun_assets.records import (
    EnsembleRecord,
    EpochMetrics,
    PretrainingRecord,
    Recipe,
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

    ``ensemble`` is there where the model is mixed with n-grams, ``pretraining`` where the encoder
    was pretrained before; ``peak_memory_mb`` is the sum over the processes that trained.
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
