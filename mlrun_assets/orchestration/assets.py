"""The asset graph: one thin asset per stage, in order.

The body of an asset opens the experiment, calls the function of its stage, saves the record and
returns metadata. Thresholds and decisions are in the rooms that these functions come from.
`mlrun_assets.runs` has the order of the graph.
"""

import os
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from mlrun_assets.data import validation
from mlrun_assets.decision import verdict
from mlrun_assets.encoders.requirements import check_head, check_requirements, describe_head
from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.evaluation import evaluation
from mlrun_assets.models import export, ngrams
from mlrun_assets.orchestration import checks, metadata
from mlrun_assets.orchestration.resources import MlRun, plain_errors, tag_run
from mlrun_assets.plan import plan
from mlrun_assets.plan.choice import PlanningInputs, observe
from mlrun_assets.production import mlflow_mirror, prediction, promotion
from mlrun_assets.production.pointer import read_production
from mlrun_assets.records import (
    SPLITS,
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    RegistryRecord,
    ReportRecord,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.runs import MADE_FROM, closing, opening
from mlrun_assets.runs.stage import Stage, require_ready, run_stage
from mlrun_assets.training import train

OWNERS = ["team:ml"]

raw_splits = [
    dg.AssetSpec(
        f"raw_{split}",
        group_name="data",
        kinds={"file"},
        owners=OWNERS,
        description=f"The files in data.{split}_path. They are read, never materialized; the data "
        "version is their digest at the last run.",
    )
    for split in SPLITS
]


class ExperimentConfig(dg.Config):
    """Launch options of a run."""

    name: str | None = Field(
        default=None,
        description="Name of the experiment. Default: MLRUN_EXPERIMENT, else a timestamp.",
    )


@dg.asset(deps=raw_splits, group_name="experiment", kinds={"json"}, owners=OWNERS)
def experiment(
    context: dg.AssetExecutionContext, config: ExperimentConfig, ml_run: MlRun
) -> dg.MaterializeResult:
    """The experiment of this run: its directory, frozen config, environment and earlier runs."""
    with plain_errors():
        current = ml_run.load_config()
        read_production(current.production_dir)  # a broken pointer fails now, not after training
        name, run_id = config.name or os.environ.get("MLRUN_EXPERIMENT"), context.run.run_id
        opened = opening.open_experiment(current, name, run_id, context.log.warning)
        tag_run(context, opened)
        stage = Stage(opened, current, run_id, context.log.info)
        with run_stage(stage, ExperimentRecord.asset):
            train.check_backend(current.settings.training)
            mlflow_mirror.check_mlflow(current, context.log.warning)
            for split, digest in opened.manifest.inputs.items():
                context.log_event(_observed(split, digest))
            record = stage.load(ExperimentRecord)
        return dg.MaterializeResult(metadata=metadata.experiment_metadata(record, opened.directory))


@dg.asset(
    deps=[*raw_splits, *MADE_FROM["validated_dataset"]],
    check_specs=checks.quality_specs(),
    group_name="data",
    kinds={"polars", "pandera", "parquet"},
    owners=OWNERS,
)
def validated_dataset(
    context: dg.AssetExecutionContext, ml_run: MlRun
) -> Iterator[dg.MaterializeResult]:
    """Clean splits, quarantined rows with reasons, and the outcome of every data check."""
    with ml_run.stage(context) as stage:
        encoder = _checked_encoder(stage)
        count = validation.token_counter(encoder)
        previous = validation.find_previous(stage.config, stage.load(ExperimentRecord).prior_runs)
        record = stage.save(
            validation.validate_dataset(stage.config, stage.directory, count, previous)
        )
        closing.write_datasheet(stage.directory, record, stage.config.settings.data)
        yield dg.MaterializeResult(
            metadata=metadata.dataset_metadata(record, stage.experiment),
            check_results=checks.quality_results(record),
            data_version=dg.DataVersion(record.digest),
        )
        require_ready(stage)
        check_head(encoder, len(record.labels), "the training split")


@dg.asset(deps=MADE_FROM["training_plan"], group_name="training", kinds={"json"}, owners=OWNERS)
def training_plan(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The recipe for training, with a reason and the evidence for each choice."""
    with ml_run.stage(context) as stage:
        config = stage.config.settings
        hardware = observe(_encoder(stage), config.model.max_length)
        prior_runs = stage.load(ExperimentRecord).prior_runs
        inputs = PlanningInputs(config, stage.load(DatasetRecord), hardware, prior_runs)
        record = stage.save(plan.plan_training(inputs))
        return dg.MaterializeResult(
            metadata=metadata.plan_metadata(record),
            data_version=dg.DataVersion(record.recipe_digest),
        )


@dg.asset(
    deps=MADE_FROM["baseline_metrics"],
    group_name="evaluation",
    kinds={"scikitlearn"},
    owners=OWNERS,
)
def baseline_metrics(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """Test scores of the majority label and of an n-gram model that is chosen on val."""
    with ml_run.stage(context) as stage:
        config = stage.config.settings
        record = stage.save(
            ngrams.measure_baseline(
                stage.directory, stage.load(DatasetRecord), config.evaluation, config.training.seed
            )
        )
        return dg.MaterializeResult(metadata=metadata.baseline_metadata(record))


@dg.asset(
    deps=MADE_FROM["trained_checkpoint"],
    check_specs=checks.specs(CheckpointRecord, ("learned", "vocabulary_covers")),
    group_name="training",
    kinds={"pytorch", "huggingface"},
    owners=OWNERS,
)
def trained_checkpoint(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The fine-tuned model of the seed and epoch with the best val macro-F1, and its history."""
    with ml_run.stage(context) as stage:
        dataset = stage.load(DatasetRecord)
        planned = stage.load(TrainingPlan)
        request = train.TrainingRequest(
            recipes=planned.recipes,
            encoder=_encoder(stage),
            report_to=stage.config.settings.training.report_to,
            reuse=planned.reuse,
        )
        settings = stage.config.settings.training
        run = train.job_runner(settings, stage.progress)
        record = stage.save(
            train.train_checkpoint(stage.directory, dataset, request, run, stage.progress)
        )
        result: dg.MaterializeResult = dg.MaterializeResult(
            metadata=metadata.checkpoint_metadata(record, stage.experiment),
            check_results=checks.checkpoint_results(record, dataset),
            data_version=dg.DataVersion(record.digest),
        )
    # Not earlier: a stage that is killed before its end resumes from its checkpoints.
    train.remove_checkpoints(stage.directory)
    return result


@dg.asset(
    deps=MADE_FROM["evaluation_metrics"],
    check_specs=checks.specs(EvaluationRecord, tuple(verdict.SCORE_RULES)),
    group_name="evaluation",
    kinds={"huggingface", "scikitlearn"},
    owners=OWNERS,
)
def evaluation_metrics(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """Test scores with intervals, compared with the baseline and the production model."""
    with ml_run.stage(context) as stage:
        config, dataset = stage.config.settings, stage.load(DatasetRecord)
        checkpoint = stage.load(CheckpointRecord)
        looks = evaluation.note_look(
            stage.config.experiments_dir,
            stage.experiment.id,
            (dataset.splits["test"].source_digest, checkpoint.digest),
            config,
        )
        candidates = evaluation.ComparedModels(
            checkpoint=checkpoint,
            baseline=stage.load(BaselineRecord),
            production=promotion.deployed_model(stage.config),
        )
        evaluated = evaluation.evaluate_checkpoint(
            stage.directory, dataset, candidates, evaluation.corrected(config, looks)
        )
        record = stage.save(evaluated.model_copy(update={"test_looks": looks}))
        return dg.MaterializeResult(
            metadata=metadata.evaluation_metadata(record, stage.experiment),
            check_results=checks.score_results(record, config.deployment),
        )


@dg.asset(
    deps=MADE_FROM["exported_model"],
    check_specs=checks.specs(ExportRecord, tuple(verdict.EXPORT_RULES)),
    group_name="deployment",
    kinds={"huggingface"},
    owners=OWNERS,
)
def exported_model(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The model as it would be deployed, in transformers and ONNX form, tested in new processes."""
    with ml_run.stage(context) as stage:
        record = stage.save(
            export.export_model(
                stage.directory,
                stage.load(DatasetRecord),
                stage.load(CheckpointRecord),
                stage.config.settings.deployment,
            )
        )
        return dg.MaterializeResult(
            metadata=metadata.export_metadata(record, stage.experiment),
            check_results=checks.export_results(record, stage.config.settings.deployment),
            data_version=dg.DataVersion(record.digest),
        )


@dg.asset(
    deps=MADE_FROM["deployment_decision"],
    group_name="deployment",
    kinds={"json"},
    owners=OWNERS,
)
def deployment_decision(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The verdict, the rules behind it, and what would change it."""
    with ml_run.stage(context) as stage:
        record = stage.save(
            verdict.decide(
                stage.load(EvaluationRecord),
                stage.load(ExportRecord),
                stage.config.settings.deployment,
                stage.experiment.id,
            )
        )
        return dg.MaterializeResult(metadata=metadata.decision_metadata(record))


@dg.asset(
    deps=MADE_FROM["production_model"],
    group_name="deployment",
    kinds={"huggingface"},
    owners=OWNERS,
)
def production_model(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The production model. Moves only on APPROVED with deployment.auto_deploy."""
    with ml_run.stage(context) as stage:
        record = stage.save(promotion.deploy_if_approved(stage.experiment, stage.config))
        return dg.MaterializeResult(metadata=metadata.production_metadata(record, stage.experiment))


@dg.asset(
    deps=MADE_FROM["experiment_registry"],
    check_specs=checks.specs(RegistryRecord, ("line_written_once",)),
    group_name="registry",
    kinds={"markdown"},
    owners=OWNERS,
)
def experiment_registry(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The line of this run in `_registry.md`: `Running` until the report is written."""
    with ml_run.stage(context) as stage:
        record = stage.save(closing.register_run(stage.experiment, stage.config))
        return dg.MaterializeResult(
            metadata=metadata.registry_metadata(record),
            check_results=checks.registry_results(record),
        )


@dg.asset(
    deps=MADE_FROM["tech_debt_registry"],
    check_specs=checks.specs(TechDebtRecord, ("numbers_unique",)),
    group_name="registry",
    kinds={"markdown"},
    owners=OWNERS,
)
def tech_debt_registry(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """New, repeated and resolved items in `_tech-debt.md`."""
    with ml_run.stage(context) as stage:
        record = stage.save(closing.register_debt(stage.experiment, stage.config))
        return dg.MaterializeResult(
            metadata=metadata.debt_metadata(record), check_results=checks.debt_results(record)
        )


@dg.asset(
    deps=MADE_FROM["deployment_report"],
    check_specs=checks.specs(ReportRecord, ("links_resolve",)),
    group_name="registry",
    kinds={"markdown"},
    owners=OWNERS,
)
def deployment_report(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The report of the run, with pictures, as Markdown and as one HTML file."""
    with ml_run.stage(context) as stage:
        record = closing.complete_experiment(stage.experiment, stage.config, stage.run_id)
        stage.progress(record.sentence)
        stage.progress(f"report: {record.file}")
        result: dg.MaterializeResult = dg.MaterializeResult(
            metadata=metadata.report_metadata(record), check_results=checks.report_results(record)
        )
    # The run is complete here; an error of MLflow does not change that.
    mlflow_mirror.mirror_run(stage.experiment, stage.config, context.log.warning)
    return result


@dg.asset(
    deps=[production_model],
    output_required=False,
    group_name="deployment",
    kinds={"jsonlines"},
    owners=OWNERS,
)
def predictions(context: dg.AssetExecutionContext, ml_run: MlRun) -> Iterator[dg.MaterializeResult]:
    """The rows of data.predict_path, labelled by the production model."""
    with plain_errors():
        current = ml_run.load_config()
        # `context.selected_asset_keys` has the assets of this step only.
        selected = context.job_def.asset_layer.selected_asset_keys
        if current.settings.data.predict_path is None and len(selected) > 1:
            context.log.info("skipped: data.predict_path is not set, so there are no rows to label")
            return
        record = prediction.label_sources(current, context.log.info)
        yield dg.MaterializeResult(
            metadata=metadata.predictions_metadata(record, current.production_dir)
        )


stages = [
    experiment,
    validated_dataset,
    training_plan,
    baseline_metrics,
    trained_checkpoint,
    evaluation_metrics,
    exported_model,
    deployment_decision,
    production_model,
    experiment_registry,
    tech_debt_registry,
    deployment_report,
]


def _encoder(stage: Stage) -> EncoderSource:
    model = stage.config.settings.model
    return resolve_encoder(model.name, model.revision, stage.config.directory)


def _checked_encoder(stage: Stage) -> EncoderSource:
    """The encoder, once it and the trackers are known to work: that takes no data."""
    from mlrun_assets.training.progress import resolve_trackers

    encoder = _encoder(stage)
    check_requirements(encoder, stage.config.settings)
    resolve_trackers(stage.config.settings.training.report_to)
    if head := describe_head(encoder):
        stage.progress(head)
    return encoder


def _observed(split: str, digest: str) -> dg.AssetObservation:
    return dg.AssetObservation(
        f"raw_{split}", metadata={"digest": digest}, tags={"dagster/data_version": digest}
    )
