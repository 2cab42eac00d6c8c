"""The asset graph: one thin asset per stage, in order.

The body of an asset opens the experiment, calls the function of its stage, saves the record and
returns metadata. Thresholds and decisions are in the rooms that these functions come from.
`mlrun_assets.runs` has the order of the graph.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import dagster as dg
from pydantic import Field

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data import validation
from mlrun_assets.data.sources import AUXILIARY, digest_sources, join_digests, split_sources
from mlrun_assets.decision import verdict
from mlrun_assets.encoders.loading import check_head, check_requirements, describe_head
from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.errors import ExperimentError
from mlrun_assets.evaluation import evaluation
from mlrun_assets.models import export, probe
from mlrun_assets.orchestration import checks, metadata
from mlrun_assets.orchestration.dagster_internals import report_inputs
from mlrun_assets.orchestration.resources import MlRun, plain_errors, tag_run, visibly
from mlrun_assets.plan import plan
from mlrun_assets.plan.choice import PlanningInputs, observe
from mlrun_assets.production import mlflow_mirror, prediction
from mlrun_assets.production.pointer import read_production
from mlrun_assets.records import (
    SPLITS,
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    TrainingPlan,
)
from mlrun_assets.runs import MADE_FROM, closing, opening, promotion
from mlrun_assets.runs.stage import Stage, require_ready, run_stage
from mlrun_assets.training import train

OWNERS = ["team:ml"]

# A new version of the package makes what an older one made stale.
CODE_VERSION = version("mlrun-assets")
# What an asset does beyond its own record: `tag:"mlrun/reads"="test"` selects the assets that look
# at the test split.
TAGS = {
    "baseline_metrics": {"mlrun/reads": "test"},
    "evaluation_metrics": {"mlrun/reads": "test"},
    "production_model": {"mlrun/changes": "production"},
    "experiment_registry": {"mlrun/changes": "registry"},
    "tech_debt_registry": {"mlrun/changes": "registry"},
    "predictions": {"mlrun/changes": "predictions"},
}

raw_splits = [
    dg.AssetSpec(
        f"raw_{split}",
        group_name="raw_files",
        kinds={"file"},
        owners=OWNERS,
        description=f"The files in data.{split}_path, as they are: nothing here changes them. "
        "Observe it to see whether they have changed. A run observes what it reads.",
    )
    for split in (*SPLITS, AUXILIARY)
]
with warnings.catch_warnings(category=dg.BetaWarning, action="ignore"):

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
        specs=raw_splits, can_subset=True
    )
    def raw_files(context: dg.AssetExecutionContext, ml_run: MlRun) -> Iterator[dg.ObserveResult]:
        """Digests of the data files; files at a URL have none before they are fetched."""
        with plain_errors(context.run):
            config = ml_run.load_config()
            for split in (*SPLITS, AUXILIARY):
                key = dg.AssetKey(f"raw_{split}")
                if key in context.selected_asset_keys:
                    digest = digest_sources(split_sources(config, split))
                    yield dg.ObserveResult(
                        asset_key=key,
                        metadata={"files": _file_names(config, split)},
                        data_version=dg.DataVersion(digest) if digest else None,
                    )


stages: list[dg.AssetsDefinition] = []


def _stage(
    group: str, *kinds: str, reads: Sequence[dg.AssetSpec] = ()
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Add the asset of a function's name to `stages`, with its edges (`MADE_FROM`) and checks."""

    def decorate(body: Callable[..., Any]) -> dg.AssetsDefinition:
        asset = dg.asset(
            deps=[*reads, *MADE_FROM[body.__name__]],
            check_specs=checks.specs(body.__name__),
            group_name=group,
            kinds=set(kinds),
            owners=OWNERS,
            tags=TAGS.get(body.__name__),
            code_version=CODE_VERSION,
        )(body)
        stages.append(asset)
        return asset

    return decorate


class ExperimentConfig(dg.Config):
    """Launch options of a run. The launchpad leaves out a field whose default is None."""

    name: str = Field(
        default="",
        description="Name of the experiment, such as `more rows`. Empty: MLRUN_EXPERIMENT, else a "
        "timestamp.",
    )
    overrides: list[str] = Field(
        default=[],
        description="Values that replace those of the config in this run only, such as "
        "`training.budget=fast`.",
    )


@_stage("experiment", "json", reads=raw_splits)
def experiment(
    context: dg.AssetExecutionContext, config: ExperimentConfig, ml_run: MlRun
) -> dg.MaterializeResult:
    """The experiment of this run: its directory, frozen config, environment and earlier runs."""
    with plain_errors(context.run):
        current = ml_run.load_config(config.overrides)
        read_production(current.production_dir)  # a broken pointer fails now, not after training
        if ml_run.experiment_id:
            raise ExperimentError(
                f"resources.ml_run.config.experiment_id is {ml_run.experiment_id}, but a run with "
                "the asset `experiment` opens a new one: leave out one of the two"
            )
        name, run_id = config.name or os.environ.get("MLRUN_EXPERIMENT"), context.run.run_id
        opened = opening.open_experiment(current, name, run_id, visibly(context.log.warning))
        tag_run(context, opened)
        stage = Stage(opened, current, run_id, visibly(context.log.info))
        with run_stage(stage, ExperimentRecord.asset):
            stage.progress(opened.manifest.title)
            train.check_backend(current.settings.training)
            mlflow_mirror.check_mlflow(current, visibly(context.log.warning))
            report_inputs(
                context, {f"raw_{k}": {"digest": v} for k, v in opened.manifest.inputs.items()}
            )
            record = stage.load(ExperimentRecord)
        return dg.MaterializeResult(metadata=metadata.experiment_metadata(record, opened.directory))


@_stage("data", "polars", "pandera", "parquet", reads=raw_splits)
def validated_dataset(
    context: dg.AssetExecutionContext, ml_run: MlRun
) -> Iterator[dg.MaterializeResult]:
    """Clean splits, quarantined rows with reasons, and the outcome of every data check."""
    with ml_run.stage(context) as stage:
        validation.find_files(stage.config)  # before the encoder, which takes seconds to import
        encoder = _checked_encoder(stage)
        count = validation.token_counter(encoder)
        previous = validation.find_previous(stage.config, stage.load(ExperimentRecord).prior_runs)
        record = stage.save(
            validation.validate_dataset(stage.config, stage.directory, count, previous)
        )
        closing.write_datasheet(stage.directory, record, stage.config.settings.data)
        local = stage.experiment.manifest.inputs  # data at a URL has no version before it is read
        report_inputs(context, {f"raw_{k}": _raw_metadata(stage, record, k) for k in local})
        yield dg.MaterializeResult(
            metadata=metadata.dataset_metadata(
                record, stage.experiment, stage.config.settings.data
            ),
            check_results=checks.quality_results(record),
            data_version=dg.DataVersion(record.digest),
        )
        require_ready(stage)
        check_head(encoder, len(record.labels), "the training split")


@_stage("training", "json")
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


@_stage("evaluation", "pytorch", "scikitlearn")
def baseline_metrics(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The candidates that need no fine-tuning; test scores of n-grams and the majority label."""
    with ml_run.stage(context) as stage:
        request = _training_request(stage)
        measured = train.train_cheap(stage.directory, stage.load(DatasetRecord), request)
        return dg.MaterializeResult(metadata=metadata.baseline_metadata(stage.save(measured)))


@_stage("training", "pytorch", "huggingface")
def trained_checkpoint(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The fine-tuned encoder, if a candidate needs it, and the best of all candidates."""
    with ml_run.stage(context) as stage:
        dataset, baseline = stage.load(DatasetRecord), stage.load(BaselineRecord)
        trained = train.train_checkpoint(
            stage.directory, dataset, baseline, _training_request(stage), stage.progress
        )
        record = stage.save(trained)
        result: dg.MaterializeResult = dg.MaterializeResult(
            metadata=metadata.checkpoint_metadata(record, stage.experiment),
            check_results=checks.checkpoint_results(record, dataset),
            data_version=dg.DataVersion(record.digest),
        )
    # Not earlier: a stage that is killed before its end resumes from its checkpoints.
    train.remove_checkpoints(stage.directory)
    return result


@_stage("evaluation", "huggingface", "scikitlearn")
def evaluation_metrics(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """Test scores with intervals, compared with the baseline and the production model."""
    with ml_run.stage(context) as stage:
        if dg.AssetKey("exported_model") in context.job_def.asset_layer.selected_asset_keys:
            probe.start_early()
        config = stage.config.settings
        evaluated = evaluation.evaluate_checkpoint(
            stage.directory,
            stage.load(DatasetRecord),
            stage.load(CheckpointRecord),
            stage.load(BaselineRecord),
            promotion.deployed_model(stage.config),
            config,
        )
        record = stage.save(evaluated)
        return dg.MaterializeResult(
            metadata=metadata.evaluation_metadata(record, stage.experiment),
            check_results=checks.rule_results(verdict.judge_scores(record, config.deployment)),
        )


@_stage("deployment", "huggingface")
def exported_model(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The model as it would be deployed, in transformers and ONNX form, tested in new processes."""
    with ml_run.stage(context) as stage:
        config, language = stage.config.settings.deployment, stage.config.settings.data.language
        dataset, checkpoint = stage.load(DatasetRecord), stage.load(CheckpointRecord)
        exported = export.export_model(stage.directory, dataset, checkpoint, config, language)
        record = stage.save(exported)
        return dg.MaterializeResult(
            metadata=metadata.export_metadata(record, stage.experiment),
            check_results=checks.rule_results(verdict.judge_export(record, config)),
            data_version=dg.DataVersion(record.digest),
        )


@_stage("deployment", "json")
def deployment_decision(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The verdict, the rules behind it, and what would change it."""
    with ml_run.stage(context) as stage:
        evaluated, exported = stage.load(EvaluationRecord), stage.load(ExportRecord)
        config = stage.config.settings.deployment
        champion = read_production(stage.config.production_dir)
        decision = verdict.decide(evaluated, exported, config, stage.experiment.id, champion)
        record = stage.save(decision)
        tag_run(context, stage.experiment)
        return dg.MaterializeResult(metadata=metadata.decision_metadata(record))


@_stage("deployment", "huggingface")
def production_model(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The production model. Moves only on APPROVED with deployment.auto_deploy."""
    with ml_run.stage(context) as stage:
        record = stage.save(promotion.deploy_if_approved(stage.experiment, stage.config))
        return dg.MaterializeResult(metadata=metadata.production_metadata(record, stage.experiment))


@_stage("registry", "markdown")
def experiment_registry(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The line of this run in `_registry.md`: `Running` until the report is written."""
    with ml_run.stage(context) as stage:
        record = stage.save(closing.register_run(stage.experiment, stage.config))
        return dg.MaterializeResult(
            metadata=metadata.registry_metadata(record),
            check_results=checks.registry_results(record),
        )


@_stage("registry", "markdown")
def tech_debt_registry(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """New, repeated and resolved items in `_tech-debt.md`."""
    with ml_run.stage(context) as stage:
        record = stage.save(closing.register_debt(stage.experiment, stage.config))
        return dg.MaterializeResult(
            metadata=metadata.debt_metadata(record), check_results=checks.debt_results(record)
        )


@_stage("registry", "markdown")
def deployment_report(context: dg.AssetExecutionContext, ml_run: MlRun) -> dg.MaterializeResult:
    """The report of the run, with pictures, as Markdown and as one HTML file."""
    with ml_run.stage(context) as stage:
        record = closing.complete_experiment(stage.experiment, stage.config, stage.run_id)
        stage.progress(f"report: {record.html_file}")
        result: dg.MaterializeResult = dg.MaterializeResult(
            metadata=metadata.report_metadata(record), check_results=checks.report_results(record)
        )
    # The run is complete here; an error of MLflow does not change that.
    mlflow_mirror.mirror(stage.config, stage.experiment, visibly(context.log.warning))
    return result


@dg.asset(
    deps=[production_model],
    output_required=False,
    group_name="deployment",
    kinds={"jsonlines"},
    owners=OWNERS,
    tags=TAGS["predictions"],
    code_version=CODE_VERSION,
)
def predictions(context: dg.AssetExecutionContext, ml_run: MlRun) -> Iterator[dg.MaterializeResult]:
    """The rows of data.predict_path, labelled by the production model."""
    with plain_errors(context.run):
        current = ml_run.load_config()
        # `context.selected_asset_keys` has the assets of this step only.
        selected = context.job_def.asset_layer.selected_asset_keys
        if current.settings.data.predict_path is None and len(selected) > 1:
            context.log.info("skipped: data.predict_path is not set, so there are no rows to label")
            return
        record = prediction.label_sources(current, visibly(context.log.info))
        yield dg.MaterializeResult(
            metadata=metadata.predictions_metadata(record, current.production_dir)
        )


def _training_request(stage: Stage) -> train.TrainingRequest:
    planned = stage.load(TrainingPlan)
    return train.TrainingRequest(
        planned.recipes, _encoder(stage), stage.config.settings, planned.reuse
    )


def _raw_metadata(stage: Stage, record: DatasetRecord, split: str) -> metadata.Metadata:
    """What the run has read of a split, or of the helper rows."""
    files = _file_names(stage.config, split)
    if split != AUXILIARY:
        return metadata.raw_metadata(record.splits[split], files)
    read = record.auxiliary.files if record.auxiliary else ()
    return {"files": files, "digest": join_digests([file.digest for file in read])}


def _file_names(config: LoadedConfig, split: str) -> str:
    return ", ".join(source.name for source in split_sources(config, split))


def _encoder(stage: Stage) -> EncoderSource:
    model = stage.config.settings.model
    return resolve_encoder(model.name, model.revision, stage.config.directory)


def _checked_encoder(stage: Stage) -> EncoderSource:
    """The encoder, once it and the trackers are known to work: that takes no data."""
    encoder, trackers = _encoder(stage), stage.config.settings.training.report_to
    check_requirements(encoder, stage.config.settings)
    if set(trackers) - {"tensorboard", "none"}:  # these are here, and the import takes seconds
        from mlrun_assets.training.progress import resolve_trackers

        resolve_trackers(trackers)
    if head := describe_head(encoder):
        stage.progress(head)
    return encoder
