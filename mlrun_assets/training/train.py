"""Stage ``trained_checkpoint``: the recipe and the validated splits in, a model directory out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mlrun_assets.config import TrainingConfig
from mlrun_assets.encoders.loading import digest_encoder
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import RecordError, TrainingError
from mlrun_assets.experiment import Experiment, ExperimentPaths
from mlrun_assets.files import digest_directory, link_directory, size_in_bytes
from mlrun_assets.records import CheckpointRecord, DatasetRecord, Recipe, SeedResult
from mlrun_assets.training.job import (
    FineTuned,
    FineTuningJob,
    JobFiles,
    PretrainingFiles,
    Report,
    Runner,
    Trained,
    best_on_val,
    train_seeds,
)
from mlrun_assets.training.processes import check_torchrun, train_with_torchrun
from mlrun_assets.training.ray_train import check_ray, train_with_ray


def take_checkpoint(earlier: Path, directory: Path) -> CheckpointRecord:
    """Link the models of the experiment at ``earlier`` into the one at ``directory``.

    Returns:
        The earlier record, which says where it is from.

    Raises:
        RecordError: the earlier checkpoint is gone, or is not what it was.
    """
    record = Experiment(earlier).load(CheckpointRecord)
    models = {record.model_dir: record.digest}
    models |= {seed.model_dir: seed.digest for seed in record.seeds}
    for model_dir, digest in models.items():
        if digest_directory(earlier / model_dir) != digest:
            raise RecordError(
                f"{earlier / model_dir}: is gone, or not the files that training wrote; leave "
                "training.reuse off, or restore them"
            )
    for model_dir in models:
        link_directory(earlier / model_dir, directory / model_dir)
    return record.model_copy(update={"reused_from": earlier.name, "not_reused": None})


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained: a recipe a seed, the encoder that all start from, the trackers.

    ``reuse`` is an earlier experiment, beside this one, whose checkpoint is to be taken instead.
    """

    recipes: tuple[Recipe, ...]
    encoder: EncoderSource
    report_to: tuple[str, ...]
    reuse: str | None = None


@dataclass(frozen=True)
class Tools:
    """What does a job, on whatever processes, and what takes a line about the progress."""

    run: Runner
    report: Report

    def train(self, job: FineTuningJob) -> FineTuned:
        """Pretrain, where the job says so, and fine-tune.

        Pretraining is done once and by this process, whatever processes start from what it leaves.
        With an ensemble the n-gram model is part of what the job makes.
        """
        pretraining = None
        if job.pretraining:
            from mlrun_assets.training.pretraining import pretrain

            pretraining = pretrain(job, job.pretraining, self.report)
        tuned = replace(self.run(job), pretraining=pretraining)
        if not job.recipe.ensemble:
            return tuned
        from mlrun_assets.models.ngrams import add_ngrams

        self.report("training: fits an n-gram model beside the encoder")
        splits = job.train_file, job.val_file
        ensemble = add_ngrams(job.model_dir, splits, job.recipe.max_length, job.recipe.seed)
        return replace(tuned, ensemble=ensemble)


def train_checkpoint(
    directory: Path, dataset: DatasetRecord, request: TrainingRequest, tools: Tools
) -> CheckpointRecord:
    """Fine-tune in the experiment at ``directory``, or take the checkpoint of an earlier one.

    With several seeds the model that is best on val becomes ``model/``; each stays in
    ``seeds/SEED/model``, and one that is finished is not trained again.

    Raises:
        TrainingError: the dataset is not ready, the encoder is not the one that was planned for, or
            training can't go on.
        EncoderError: the encoder can't be loaded.
    """
    if not dataset.ready:
        raise TrainingError(
            "the validated dataset is not ready: mend what its checks found and materialize "
            "validated_dataset again"
        )
    not_reused = None
    if request.reuse:
        taken = _take(directory, request.reuse, tools.report)
        if isinstance(taken, CheckpointRecord):
            return taken
        not_reused = taken
    _compare_encoder(request.recipes[0], request.encoder)
    jobs = [_job(directory, dataset, request, recipe) for recipe in request.recipes]
    if len(jobs) > 1:
        trained = train_seeds(jobs, tools.train, tools.report)
    else:
        trained = [Trained(jobs[0], tools.train(jobs[0]), digest_directory(jobs[0].model_dir))]
    chosen = best_on_val(trained)
    if len(jobs) > 1:
        paths = ExperimentPaths(directory)
        link_directory(chosen.job.model_dir, paths.model)
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    seeds = tuple(_seed_result(each, directory) for each in trained)
    return _record(chosen, directory).model_copy(update={"seeds": seeds, "not_reused": not_reused})


def _compare_encoder(recipe: Recipe, encoder: EncoderSource) -> None:
    """Make sure that the encoder's files are those that the plan was made for.

    Checkpoints hold the weights of the old ones, and its tokenizer is read again.

    Raises:
        TrainingError: they are others.
    """
    planned = recipe.encoder_digest
    found = digest_encoder(encoder)
    if not found.startswith(planned):  # a plan notes as many digits as a table can show
        raise TrainingError(
            f"{encoder.name} ({encoder.location}): the files of the encoder are not those that the "
            f"training plan of this experiment was made for: their digest is {planned} there and "
            f"{found[: len(planned)]} now. Restore them, without files that were added, or start a "
            "new run with `mlrun-assets run`"
        )


def _take(directory: Path, earlier: str, report: Report) -> CheckpointRecord | str:
    """The record of an earlier experiment whose checkpoint is taken, else why it is not."""
    try:
        record = take_checkpoint(directory.parent / earlier, directory)
    except RecordError as error:
        why = f"{earlier} is not reused: {error}"
        report(f"training: {why}")
        return why
    report(f"training: the checkpoint of {earlier} is reused")
    return record


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
        checkpoints_dir=paths.checkpoints_of(seed),
        logs_dir=paths.logs_of(seed),
        model_dir=paths.model_of(seed),
        report_to=request.report_to,
        pretraining=PretrainingFiles(
            directory=paths.pretraining_of(seed),
            unlabelled_file=directory / dataset.unlabelled.file if dataset.unlabelled else None,
        )
        if recipe.pretraining_epochs
        else None,
        name=directory.name if seed is None else f"{directory.name} seed-{seed}",
    )


def _record(chosen: Trained, directory: Path) -> CheckpointRecord:
    tuned, paths = chosen.tuned, ExperimentPaths(directory)
    return CheckpointRecord(
        model_dir=paths.relative(paths.model),
        digest=chosen.digest,
        size_bytes=size_in_bytes(paths.model),
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
        seed=chosen.job.recipe.seed,
        ensemble=tuned.ensemble,
        pretraining=tuned.pretraining,
    )


def _seed_result(trained: Trained, directory: Path) -> SeedResult:
    best = trained.best
    return SeedResult(
        seed=trained.job.recipe.seed,
        val_f1_macro=trained.val_f1_macro,
        val_accuracy=trained.val_accuracy,
        val_loss=best.val_loss,
        best_epoch=best.epoch,
        seconds=trained.tuned.seconds,
        model_dir=ExperimentPaths(directory).relative(trained.job.model_dir),
        digest=trained.digest,
    )


def remove_checkpoints(directory: Path) -> None:
    """Remove what training could have gone on from; only once its record stands."""
    paths = ExperimentPaths(directory)
    for each in (paths.checkpoints, paths.pretraining):
        shutil.rmtree(each, ignore_errors=True)


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
            from mlrun_assets.training.fine_tuning import fine_tune

            return fine_tune(job, report)
        check_backend(training)
        handover = JobFiles.of(job)
        if training.backend == "ray":
            return train_with_ray(handover, training.num_workers, training.ray_address, report)
        return train_with_torchrun(handover, training.num_workers, report)

    return run
