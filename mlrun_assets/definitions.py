"""The one `dg.Definitions`, which Dagster loads.

Under 60 lines, and a module all the same: `workspace.yaml` and `pyproject.toml` name it.
"""

import dagster as dg

from mlrun_assets.orchestration import assets, automation
from mlrun_assets.orchestration.dagster_internals import warn_of_hanging_dev
from mlrun_assets.orchestration.resources import MlRun, plain_logger

warn_of_hanging_dev()

defs = dg.Definitions(
    assets=[assets.raw_files, *assets.stages, assets.predictions],
    jobs=automation.jobs,
    schedules=[automation.weekly_run],
    sensors=[automation.new_data_sensor],
    resources={"ml_run": MlRun()},
    loggers={"plain": plain_logger},
    # A process per asset would import torch again each time and take four times as long.
    executor=dg.in_process_executor,
)
