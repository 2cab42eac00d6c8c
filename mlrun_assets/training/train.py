"""Stages ``baseline_metrics`` and ``trained_checkpoint``: recipe and rows in, the model out."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.config import Config, DeploymentConfig, TrainingConfig
from mlrun_assets.encoders.loading import digest_encoder
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import RecordError, TrainingError, count
from mlrun_assets.experiment import Experiment, ExperimentPaths
from mlrun_assets.files import digest_directory, link_directory, size_in_bytes, write_atomically
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    FineTuningRecord,
    Recipe,
    SeedResult,
)
from mlrun_assets.training import candidates
from mlrun_assets.training.job import (
    FineTuningJob,
    FineTuningResult,
    JobFiles,
    JobRunner,
    TrainedSeed,
    best_on_val,
    train_seeds,
)
from mlrun_assets.training.processes import (
    check_ray,
    check_torchrun,
    train_with_ray,
    train_with_torchrun,
)
from mlrun_assets.types import ProgressCallback


@dataclass(frozen=True)
class TrainingRequest:
    """The recipes, one per seed, the encoder that all of them start from, and the config.

    ``reuse`` is an earlier experiment, beside this one, whose model is taken instead.
    """

    recipes: tuple[Recipe, ...]
    encoder: EncoderSource
    config: Config
    reuse: str | None = None


def train_cheap(
    directory: Path, dataset: DatasetRecord, request: TrainingRequest
) -> BaselineRecord:
    """Train the candidates that need no fine-tuning.

    Raises:
        TrainingError: the dataset is not ready, or the encoder is not the one of the plan.
        EncoderError: the encoder can't be loaded.
    """
    _require_ready(dataset)
    job = _job(directory, dataset, request, request.recipes[0])
    if job.recipe.needs("frozen") or job.recipe.needs("helped"):
        _require_planned_encoder(job.recipe, request.encoder)
    return candidates.train_cheap(directory, dataset, job, request.config)


def train_checkpoint(
    directory: Path,
    dataset: DatasetRecord,
    baseline: BaselineRecord,
    request: TrainingRequest,
    progress: ProgressCallback,
) -> CheckpointRecord:
    """Fine-tune the encoder if a candidate needs it, and choose the model of the run.

    Or take the model of an earlier experiment. With several seeds the encoder that is best on val
    goes on; every seed keeps ``seeds/SEED/model``, and a finished one is not trained again.

    Raises:
        TrainingError: the dataset is not ready, the encoder is not the one of the plan, or training
            fails.
        EncoderError: the encoder can't be loaded.
    """
    _require_ready(dataset)
    not_reused = None
    if request.reuse:
        try:
            taken = take_checkpoint(
                directory.parent / request.reuse, directory, request.config.deployment
            )
        except RecordError as error:
            not_reused = f"{request.reuse} is not reused: {error}"
            progress(f"training: {not_reused}")
        else:
            progress(f"training: the checkpoint of {request.reuse} is reused")
            return taken
    recipe, trained = request.recipes[0], None
    if recipe.needs("encoder"):
        _require_planned_encoder(recipe, request.encoder)
        run = job_runner(request.config.training, progress)
        jobs = [_job(directory, dataset, request, each) for each in request.recipes]
        if len(jobs) == 1:
            trained = [TrainedSeed(jobs[0], run(jobs[0]), digest_directory(jobs[0].model_dir))]
        else:
            trained = train_seeds(jobs, run, progress)
            shutil.rmtree(ExperimentPaths(directory).checkpoints, ignore_errors=True)
    best = best_on_val(trained) if trained else None
    chosen, judged, acceptance = candidates.choose_model(
        directory, dataset, recipe, best.job.model_dir if best else None, request.config
    )
    progress(f"training: {chosen} is the best of {count(len(judged), 'candidate')}")
    paths = ExperimentPaths(directory)
    trims = {
        "frozen": baseline.frozen.trim if baseline.frozen else None,
        "helped": baseline.helped.trim if baseline.helped else None,
        "encoder": best.result.trim if best else None,
    }
    return CheckpointRecord(
        model_dir=paths.relative(paths.model),
        digest=digest_directory(paths.model),
        size_bytes=size_in_bytes(paths.model),
        parameters=count_parameters(paths.model),
        chosen=chosen,
        candidates=judged,
        acceptance=acceptance,
        trim=next((trims[part] for part in chosen.split("+") if part in trims), None),
        fine_tuning=_record(directory, trained) if trained else None,
        not_reused=not_reused,
    )


def _require_ready(dataset: DatasetRecord) -> None:
    if not dataset.ready:
        raise TrainingError(
            "the validated dataset is not ready: fix what its checks found and materialize "
            "validated_dataset again"
        )


def count_parameters(model_dir: Path) -> int:
    """The numbers in all safetensors files below ``model_dir``."""
    from safetensors import safe_open

    total = 0
    for file in model_dir.rglob("*.safetensors"):
        with safe_open(str(file), "np") as opened:
            names = opened.keys()
            total += sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
    return total


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
        report_to=request.config.training.report_to,
        name=directory.name if seed is None else f"{directory.name} seed-{seed}",
    )


def _record(directory: Path, trained: list[TrainedSeed]) -> FineTuningRecord:
    paths, chosen = ExperimentPaths(directory), best_on_val(trained)
    result = dict(vars(chosen.result))
    del result["trim"]
    return FineTuningRecord(
        tokens_per_second=result.pop("tokens") / result["seconds"],
        seed=chosen.job.recipe.seed,
        seeds=tuple(
            SeedResult(
                seed=each.job.recipe.seed,
                val_f1_macro=each.val_scores[0],
                val_accuracy=each.val_scores[1],
                val_loss=each.last.val_loss,
                seconds=each.result.seconds,
                model_dir=paths.relative(each.job.model_dir),
                digest=each.digest,
            )
            for each in trained
        ),
        **result,
    )


# Reuse of an earlier checkpoint


def take_checkpoint(
    earlier: Path, directory: Path, deployment: DeploymentConfig
) -> CheckpointRecord:
    """Link the models of the experiment at ``earlier`` into the one at ``directory``.

    Returns:
        The earlier record, with the name of its experiment.

    Raises:
        RecordError: the earlier checkpoint is missing, was changed, or has a confidence threshold
            for another ``deployment.min_precision``.
    """
    record = Experiment(earlier).load(CheckpointRecord)
    wanted = candidates.precisions(deployment)
    if tuple(each.min_precision for each in record.acceptance) != wanted:
        raise RecordError("deployment.min_precision has changed")
    models = {record.model_dir: record.digest}
    if record.fine_tuning:
        models |= {seed.model_dir: seed.digest for seed in record.fine_tuning.seeds}
    for model_dir, digest in models.items():
        if digest_directory(earlier / model_dir) != digest:
            raise RecordError(
                f"{earlier / model_dir}: missing, or not the files that training wrote; set "
                "training.reuse to false, or restore them"
            )
    try:
        judged = ExperimentPaths(earlier).out_of_fold.read_bytes()
    except OSError as error:
        raise RecordError(f"{ExperimentPaths(earlier).out_of_fold}: {error.strerror}") from None
    write_atomically(ExperimentPaths(directory).out_of_fold, judged)
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
