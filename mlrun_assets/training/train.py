"""Stage ``trained_checkpoint``: the recipe and the validated splits in, a model directory out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mlrun_assets.config import TrainingConfig
from mlrun_assets.encoders.loading import digest_encoder
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import RecordError, TrainingError
from mlrun_assets.experiment import Experiment, ExperimentPaths
from mlrun_assets.files import digest_directory, link_directory, size_in_bytes
from mlrun_assets.records import CheckpointRecord, DatasetRecord, Recipe, SeedResult
from mlrun_assets.training.job import (
    FineTuningJob,
    FineTuningResult,
    JobFiles,
    JobRunner,
    TrainedSeed,
    best_on_val,
    train_seeds,
)
from mlrun_assets.training.processes import check_torchrun, train_with_torchrun
from mlrun_assets.training.ray_train import check_ray, train_with_ray
from mlrun_assets.types import ProgressCallback


@dataclass(frozen=True)
class TrainingRequest:
    """The recipes, one per seed, the encoder that all of them start from, and the trackers.

    ``reuse`` is an earlier experiment, beside this one, whose checkpoint is taken instead.
    """

    recipes: tuple[Recipe, ...]
    encoder: EncoderSource
    report_to: tuple[str, ...]
    reuse: str | None = None


def train_checkpoint(
    directory: Path,
    dataset: DatasetRecord,
    request: TrainingRequest,
    run: JobRunner,
    progress: ProgressCallback,
) -> CheckpointRecord:
    """Fine-tune in the experiment at ``directory``, or take the checkpoint of an earlier one.

    With several seeds the model that is best on val becomes ``model/``; every seed keeps
    ``seeds/SEED/model``, and a finished one is not trained again.

    Raises:
        TrainingError: the dataset is not ready, the encoder is not the one of the plan, or training
            fails.
        EncoderError: the encoder can't be loaded.
    """
    if not dataset.ready:
        raise TrainingError(
            "the validated dataset is not ready: fix what its checks found and materialize "
            "validated_dataset again"
        )
    not_reused = None
    if request.reuse:
        try:
            taken = take_checkpoint(directory.parent / request.reuse, directory)
        except RecordError as error:
            not_reused = f"{request.reuse} is not reused: {error}"
            progress(f"training: {not_reused}")
        else:
            progress(f"training: the checkpoint of {request.reuse} is reused")
            return taken
    _require_planned_encoder(request.recipes[0], request.encoder)
    jobs = [_job(directory, dataset, request, recipe) for recipe in request.recipes]
    train = partial(_train, run=run, progress=progress)
    if len(jobs) == 1:
        trained = [TrainedSeed(jobs[0], train(jobs[0]), digest_directory(jobs[0].model_dir))]
    else:
        trained = train_seeds(jobs, train, progress)
        paths = ExperimentPaths(directory)
        link_directory(best_on_val(trained).job.model_dir, paths.model)
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    return _record(directory, trained).model_copy(update={"not_reused": not_reused})


def remove_checkpoints(directory: Path) -> None:
    """Remove the checkpoints; call it only after the record of the stage is saved."""
    shutil.rmtree(ExperimentPaths(directory).checkpoints, ignore_errors=True)


def _require_planned_encoder(recipe: Recipe, encoder: EncoderSource) -> None:
    """Require the encoder's files that the plan was made for.

    Checkpoints hold weights that started from them, and the tokenizer is read again.

    Raises:
        TrainingError: the files differ.
    """
    planned, found = recipe.encoder_digest, digest_encoder(encoder)
    if not found.startswith(planned):  # a plan stores as many digits as a table can show
        raise TrainingError(
            f"{encoder.name} ({encoder.location}): the encoder's files differ from those of the "
            f"training plan of this experiment: their digest is {planned} in the plan and "
            f"{found[: len(planned)]} now. Restore them, without additional files, or start a "
            "new run with `mlrun-assets run`"
        )


def _job(
    directory: Path, dataset: DatasetRecord, request: TrainingRequest, recipe: Recipe
) -> FineTuningJob:
    """The job of one seed; a single one works in the experiment's own directories."""
    paths = ExperimentPaths(directory)
    seed = recipe.seed if len(request.recipes) > 1 else None
    return FineTuningJob(
        recipe=recipe,
        encoder=request.encoder,
        labels=dataset.labels,
        data_digest=dataset.digest,
        train_file=directory / dataset.splits["train"].file,
        val_file=directory / dataset.splits["val"].file,
        checkpoints_dir=paths.of_seed(paths.checkpoints, seed),
        logs_dir=paths.of_seed(paths.logs, seed),
        model_dir=paths.model_of(seed),
        report_to=request.report_to,
        name=directory.name if seed is None else f"{directory.name} seed-{seed}",
    )


def _train(job: FineTuningJob, run: JobRunner, progress: ProgressCallback) -> FineTuningResult:
    """Fine-tune, and fit the n-gram model of an ensemble."""
    result = run(job)
    if not job.recipe.ensemble:
        return result
    from mlrun_assets.models.ngrams import add_ngrams

    progress("training: fits an n-gram model beside the encoder")
    splits = job.train_file, job.val_file
    ensemble = add_ngrams(job.model_dir, splits, job.recipe.max_length, job.recipe.seed)
    return replace(result, ensemble=ensemble)


def _record(directory: Path, trained: list[TrainedSeed]) -> CheckpointRecord:
    paths, chosen = ExperimentPaths(directory), best_on_val(trained)
    result = dict(vars(chosen.result))
    return CheckpointRecord(
        tokens_per_second=result.pop("tokens") / result["seconds"],
        model_dir=paths.relative(paths.model),
        digest=chosen.digest,
        size_bytes=size_in_bytes(paths.model),
        seed=chosen.job.recipe.seed,
        seeds=tuple(
            SeedResult(
                seed=each.job.recipe.seed,
                val_f1_macro=each.val_scores[0],
                val_accuracy=each.val_scores[1],
                val_loss=each.best.val_loss,
                best_epoch=each.best.epoch,
                seconds=each.result.seconds,
                model_dir=paths.relative(each.job.model_dir),
                digest=each.digest,
            )
            for each in trained
        ),
        **result,
    )


# Reuse of an earlier checkpoint


def take_checkpoint(earlier: Path, directory: Path) -> CheckpointRecord:
    """Link the models of the experiment at ``earlier`` into the one at ``directory``.

    Returns:
        The earlier record, with the name of its experiment.

    Raises:
        RecordError: the earlier checkpoint is missing or was changed.
    """
    record = Experiment(earlier).load(CheckpointRecord)
    models = {record.model_dir: record.digest}
    models |= {seed.model_dir: seed.digest for seed in record.seeds}
    for model_dir, digest in models.items():
        if digest_directory(earlier / model_dir) != digest:
            raise RecordError(
                f"{earlier / model_dir}: missing, or not the files that training wrote; set "
                "training.reuse to false, or restore them"
            )
    for model_dir in models:
        link_directory(earlier / model_dir, directory / model_dir)
    return record.model_copy(update={"reused_from": earlier.name, "not_reused": None})


# Backends


def check_backend(training: TrainingConfig) -> None:
    """Check that the backend can train, before anything long starts.

    Raises:
        TrainingError: it can't.
    """
    if training.backend == "ray":
        check_ray(training.ray_address)
    elif training.backend == "torchrun":
        check_torchrun(training.num_workers)


def job_runner(training: TrainingConfig, progress: ProgressCallback) -> JobRunner:
    """The function that runs a job on the configured backend."""

    def run(job: FineTuningJob) -> FineTuningResult:
        if training.backend == "inline":
            from mlrun_assets.training.fine_tuning import fine_tune

            return fine_tune(job, progress)
        check_backend(training)
        files = JobFiles.of(job)
        if training.backend == "ray":
            return train_with_ray(files, training.num_workers, training.ray_address, progress)
        return train_with_torchrun(files, training.num_workers, progress)

    return run
