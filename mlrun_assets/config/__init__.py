"""``ml_config.yaml`` as strict, frozen models: every setting, its default and its meaning, once.

A key that is missing takes its default, a key that is not known is an error. ``auto`` leaves a
choice to the training plan, which records what it chose and why; a value always wins over a rule.
Relative paths are relative to the directory of the config file.

Imports go down this list, never up:

    loading.py         the file read, all its mistakes told at once
    contradictions.py  values that can't stand together
    mistakes.py        keys that are not known, values that are not allowed
    whole.py           all sections as one, and the place that they came from
    data.py            section data
    quality.py         section data.quality
    model.py           section model
    training.py        section training
    evaluation.py      section evaluation
    deployment.py      section deployment
    outputs.py         sections experiments, tracking and reports
    values.py          kinds of values, and what all sections share
    variables.py       environment variables
"""

from mlrun_assets.config.data import DataConfig, extra_column
from mlrun_assets.config.deployment import DeploymentConfig
from mlrun_assets.config.evaluation import BUILT_IN_SLICES, EvaluationConfig
from mlrun_assets.config.loading import DEFAULT_CONFIG_FILE, load_config, parse_config
from mlrun_assets.config.model import ModelConfig
from mlrun_assets.config.outputs import ExperimentsConfig, ReportsConfig, TrackingConfig
from mlrun_assets.config.quality import CheckName, QualityConfig
from mlrun_assets.config.training import TrainingConfig
from mlrun_assets.config.values import Section
from mlrun_assets.config.variables import COLUMNS_VARIABLE, CONFIG_VARIABLE
from mlrun_assets.config.whole import Config, LoadedConfig, json_schema

__all__ = [
    "BUILT_IN_SLICES",
    "COLUMNS_VARIABLE",
    "CONFIG_VARIABLE",
    "DEFAULT_CONFIG_FILE",
    "CheckName",
    "Config",
    "DataConfig",
    "DeploymentConfig",
    "EvaluationConfig",
    "ExperimentsConfig",
    "LoadedConfig",
    "ModelConfig",
    "QualityConfig",
    "ReportsConfig",
    "Section",
    "TrackingConfig",
    "TrainingConfig",
    "extra_column",
    "json_schema",
    "load_config",
    "parse_config",
]
