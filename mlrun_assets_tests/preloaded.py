"""Imports what a run needs, so that the forks of this process need not; see `forks`.

A process that has used polars can't be forked: here, it is only imported.
"""

import gc
from importlib import import_module

gc.disable()
for name in (
    "mlrun_assets.definitions",
    "mlrun_assets.reports.report",
    "mlrun_assets.training.fine_tuning",
    "mlrun_assets_tests.examples",
    # what these import as soon as they need it
    "alembic.command",
    "cleanlab.filter",
    "dagster._cli",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "evaluate",
    "ftfy",
    "langcodes",
    "pandera.polars",
    "pycld2",
    "rensa",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.svm",
    "transformers.models.bert.modeling_bert",
    "transformers.pipelines",
):
    import_module(name)
gc.freeze()  # a fork that looks at all these objects copies their memory
gc.enable()
