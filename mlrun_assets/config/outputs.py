"""Sections ``experiments``, ``tracking`` and ``reports``: where what a run leaves is kept."""

from __future__ import annotations

from pydantic import Field

from mlrun_assets.config.values import Flag, Section, Text


class ReportsConfig(Section):
    """Where the registries and reports go."""

    dir: Text = Field(".claude/reports", description="Directory of the registries and reports.")
    show_text: Flag = Field(
        False, description="Quote texts of the data in reports (mind their licence)."
    )


class TrackingConfig(Section):
    """MLflow, for teams that have it: ``pip install 'mlrun-assets[mlflow]'``."""

    mlflow: Flag = Field(
        False,
        description="Mirror parameters, metrics, artefacts and the registered model to MLflow.",
    )
    mlflow_uri: Text | None = Field(
        None,
        description="A tracking server or store; unset: `mlflow.db` (SQLite) in experiments.dir.",
    )
    registered_model: Text | None = Field(
        None, description="Name of the registered model; unset: that of the data."
    )


class ExperimentsConfig(Section):
    """Where experiments are kept."""

    dir: Text = Field("experiments", description="Directory with one directory an experiment.")
