"""The one `dg.Definitions`, which Dagster loads.

Under 60 lines, and a module all the same: `workspace.yaml` and `pyproject.toml` name it.
"""

import dagster as dg

from mlrun_assets.orchestration import assets, automation
from mlrun_assets.orchestration.resources import MlRun, plain_logger

defs = dg.Definitions(
    assets=[*assets.raw_splits, *assets.stages, assets.predictions],
    jobs=[
        automation.ml_run,
        automation.compare_two_models,
        automation.promote_experiment,
        automation.rollback_production,
    ],
    sensors=[automation.new_data_sensor],
    resources={"ml_run": MlRun()},
    loggers={"plain": plain_logger},
    # A process per asset would import torch again each time and take four times as long.
    executor=dg.in_process_executor,
)
