"""Stage ``trained_checkpoint``: the recipe and the validated splits in, a model directory out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.encoders import EncoderSource
from mlrun_assets.errors import TrainingError
from mlrun_assets.files import digest_directory, size_in_bytes
from mlrun_assets.records import CheckpointRecord, DatasetRecord, Recipe
from mlrun_assets.trainer.job import FineTuningJob, Runner

MODEL_DIR = "model"


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained: the recipe, the encoder it starts from, the trackers it reports to."""

    recipe: Recipe
    encoder: EncoderSource
    report_to: tuple[str, ...]


def train_checkpoint(
    directory: Path, dataset: DatasetRecord, request: TrainingRequest, run: Runner
) -> CheckpointRecord:
    """Fine-tune in the experiment at ``directory``; ``run`` does the job.

    Raises:
        TrainingError: the dataset is not ready, or training can't go on.
        EncoderError: the encoder can't be loaded.
    """
    if not dataset.ready:
        raise TrainingError(
            "the validated dataset is not ready: mend what its checks found and materialize "
            "validated_dataset again"
        )
    job = FineTuningJob(
        recipe=request.recipe,
        encoder=request.encoder,
        labels=dataset.labels,
        data_digest=dataset.digest,
        train_file=directory / dataset.splits["train"].file,
        val_file=directory / dataset.splits["val"].file,
        checkpoints_dir=directory / "checkpoints",
        logs_dir=directory / "logs",
        model_dir=directory / MODEL_DIR,
        report_to=request.report_to,
    )
    tuned = run(job)
    return CheckpointRecord(
        model_dir=MODEL_DIR,
        digest=digest_directory(job.model_dir),
        size_bytes=size_in_bytes(job.model_dir),
        parameters=tuned.parameters,
        history=tuned.history,
        best_epoch=tuned.best_epoch,
        stopped_early=tuned.stopped_early,
        resumed_from_step=tuned.resumed_from_step,
        passed_over=tuned.passed_over,
        steps=tuned.steps,
        seconds=tuned.seconds,
        tokens_per_second=tuned.tokens / tuned.seconds,
        peak_memory_mb=tuned.peak_memory_mb,
        trim=tuned.trim,
    )
