"""All sections as one config, and the place that it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from mlrun_assets.config.data import DataConfig
from mlrun_assets.config.deployment import DeploymentConfig
from mlrun_assets.config.evaluation import EvaluationConfig
from mlrun_assets.config.model import ModelConfig
from mlrun_assets.config.outputs import ExperimentsConfig, ReportsConfig, TrackingConfig
from mlrun_assets.config.training import TrainingConfig
from mlrun_assets.config.values import Section


class Config(Section):
    """The whole of ``ml_config.yaml``."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    deployment: DeploymentConfig = DeploymentConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    tracking: TrackingConfig = TrackingConfig()
    reports: ReportsConfig = ReportsConfig()

    def to_yaml(self) -> str:
        """The config with every default spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class LoadedConfig(Section):
    """A config together with the place it came from."""

    settings: Config
    directory: Path = Field(description="What relative paths are relative to; absolute.")
    file: Path | None = Field(None, description="The file, absolute; None: all defaults.")

    def path(self, relative: str) -> Path:
        """``relative`` as an absolute path; an absolute path stays as it is."""
        return Path(os.path.normpath(self.directory / Path(relative).expanduser()))

    @property
    def experiments_dir(self) -> Path:
        return self.path(self.settings.experiments.dir)

    @property
    def production_dir(self) -> Path:
        return self.path(self.settings.deployment.production_dir)

    @property
    def reports_dir(self) -> Path:
        return self.path(self.settings.reports.dir)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``ml_config.yaml``, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }
