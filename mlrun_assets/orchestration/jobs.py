"""The run as a job, and production moved by a person from the UI."""

import dagster as dg
from pydantic import Field

from mlrun_assets.experiment_store import find_experiment
from mlrun_assets.lifecycle.comparing import two_sides
from mlrun_assets.lifecycle.promoting import mover, promote_by_hand, roll_back
from mlrun_assets.orchestration.assets import stages
from mlrun_assets.orchestration.resources import MlRun, plain_errors
from mlrun_assets.reporting.model_diff import differences_table, list_differences

ml_run = dg.define_asset_job(
    "ml_run",
    selection=dg.AssetSelection.assets(*stages),
    description="One ML run, from data to a deployment decision.",
)


class PromotionConfig(dg.Config):
    """Which experiment is to serve, and why."""

    experiment: str = Field(description="The experiment's id or name.")
    reason: str | None = Field(
        default=None,
        description="Why; needed where the verdict is not APPROVED, or production has moved since.",
    )


class RollbackConfig(dg.Config):
    """Which version is to serve again, and why."""

    to: str | None = Field(default=None, description="A version; unset: the one before.")
    reason: str = Field(description="Why.")


class ComparisonConfig(dg.Config):
    """Which two models are laid side by side."""

    models: list[str] = Field(
        default=[],
        description="Two versions or experiments; one: it is compared with production; none: "
        "production with the version before.",
        max_length=2,
    )


@dg.op(description="Tells what differs between two models; changes nothing.")
def compare_models(context: dg.OpExecutionContext, config: ComparisonConfig, ml_run: MlRun) -> None:
    """What a person reads before approving."""
    with plain_errors():
        first, second = two_sides(ml_run.load_config(), tuple(config.models))
        context.log.info(f"{first.name} and {second.name}:\n{list_differences(first, second)}")
        context.add_output_metadata(
            {"differences": dg.MetadataValue.md(differences_table(first, second))}
        )


@dg.op(description="Moves production to the exported model of an experiment.")
def move_production(context: dg.OpExecutionContext, config: PromotionConfig, ml_run: MlRun) -> None:
    """A person's approval."""
    with plain_errors():
        current = ml_run.load_config()
        experiment = find_experiment(current.experiments_dir, config.experiment, ())
        record = promote_by_hand(experiment, current, config.reason, mover())
        context.log.info(record.sentence)


@dg.op(description="Lets an earlier version serve again.")
def restore_production(
    context: dg.OpExecutionContext, config: RollbackConfig, ml_run: MlRun
) -> None:
    """A person's way back."""
    with plain_errors():
        record = roll_back(ml_run.load_config(), config.to, config.reason, mover())
        context.log.info(record.sentence)


@dg.job(description="What differs between two models, before one is approved.")
def compare_two_models() -> None:
    """Lay two models side by side."""
    compare_models()


@dg.job(description="Approve a model by hand: its experiment, and a reason where it needs one.")
def promote_experiment() -> None:
    """Deploy the model of an experiment."""
    move_production()


@dg.job(description="Go back to the model that served before, or to a named version.")
def rollback_production() -> None:
    """Restore an earlier model."""
    restore_production()
