"""The one `Definitions`: what Dagster loads."""

import dagster as dg

from mlrun_assets.orchestration import assets
from mlrun_assets.orchestration import automation as jobs
from mlrun_assets.orchestration import automation as sensors
from mlrun_assets.orchestration import resources as console
from mlrun_assets.orchestration.resources import MlRun

defs = dg.Definitions(
    assets=[*assets.raw_splits, *assets.stages, assets.predictions],
    jobs=[
        jobs.ml_run,
        jobs.compare_two_models,
        jobs.promote_experiment,
        jobs.rollback_production,
    ],
    sensors=[sensors.new_data_sensor],
    resources={"ml_run": MlRun()},
    loggers={"plain": console.plain_logger},
    # Ten small assets that import torch: a process each costs four times as much.
    executor=dg.in_process_executor,
)
