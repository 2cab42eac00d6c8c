# mypy: implicit-reexport
# ruff: noqa: F401
"""``ml_config.yaml`` as strict, frozen models: every setting with its default and its meaning.

A missing key takes its default, an unknown key is an error. ``auto`` leaves a choice to the
training plan, which records its choice and the reason; a value in the file overrides the plan.
Relative paths are relative to the directory of the config file.

Imports go down this list, never up:

    loading.py    the YAML file, and one message for all its mistakes
    schema.py     all sections as one config, contradictions between values, directories
    data.py       the sections data and data.quality
    sections.py   the sections model, training, evaluation, deployment, and output directories
"""

from mlrun_assets.config.data import CheckName, DataConfig, QualityConfig, extra_column
from mlrun_assets.config.loading import DEFAULT_CONFIG_FILE, load_config, parse_config, read_config
from mlrun_assets.config.schema import Config, LoadedConfig, json_schema
from mlrun_assets.config.sections import (
    BUILT_IN_SLICES,
    CONFIG_VARIABLE,
    SET_VARIABLE,
    CandidateName,
    DeploymentConfig,
    EvaluationConfig,
    ExperimentsConfig,
    ModelConfig,
    ReportsConfig,
    Section,
    TrackingConfig,
    TrainingConfig,
)
