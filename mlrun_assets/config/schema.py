"""The whole config, its contradictions, and its directory."""

from __future__ import annotations

import functools
import io
import json
import operator
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from mlrun_assets.config.data import DataConfig, QualityConfig
from mlrun_assets.config.sections import (
    BUILT_IN_SLICES,
    DeploymentConfig,
    EvaluationConfig,
    ExperimentsConfig,
    Flag,
    ModelConfig,
    ReportsConfig,
    Section,
    TrackingConfig,
    TrainingConfig,
    setting,
)
from mlrun_assets.errors import ConfigError, is_redacted

Location = tuple[str | int, ...]


class Config(Section):
    """The whole of ``ml_config.yaml``."""

    offline: Flag = setting(False, example=True)
    """Refuse every call to another machine. Data, trackers and stores must be on this machine; a
    model of the Hub must be in its cache."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    deployment: DeploymentConfig = DeploymentConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    tracking: TrackingConfig = TrackingConfig()
    reports: ReportsConfig = ReportsConfig()

    def to_yaml(self, *, defaults: bool = True) -> str:
        """The config as YAML 1.2. `parse_config` reads it back unchanged."""
        yaml = YAML(typ="safe", pure=True)
        yaml.Representer = _Representer
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        text = io.StringIO()
        yaml.dump(self.model_dump(mode="json", exclude_defaults=not defaults), text)
        return text.getvalue()


class _Representer(SafeRepresenter):
    """Quotes text with line breaks or control characters, which plain YAML text would change."""

    def represent_str(self, data: str) -> Any:
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


class LoadedConfig(Section):
    """A config together with the place it came from."""

    settings: Config
    directory: Path
    """Base of relative paths; absolute."""
    file: Path | None = None
    """The file, absolute; None: all defaults."""
    secrets: dict[str, str] = Field({}, repr=False, exclude=True)
    """The URLs of the file that have credentials, by their redacted forms in ``settings``."""
    overridden: tuple[str, ...] = ()
    """The keys whose values are not from the file."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Lines such as ``training.epochs=2`` with the same values, without credentials."""
        settings, lines = self.settings.model_dump(mode="json"), []
        for key in self.overridden:
            with suppress(KeyError):  # a later override of the section left it out
                value = functools.reduce(operator.getitem, key.split("."), settings)
                lines.append(f"{key}={json.dumps(value)}")
        return tuple(lines)

    def path(self, relative: str) -> Path:
        """``relative`` as an absolute path; an absolute path is returned as it is."""
        return Path(os.path.normpath(self.directory / Path(relative).expanduser()))

    def reveal(self, place: str) -> str:
        """``place`` as the file has it: for opening it, never for writing or showing it.

        Raises:
            ConfigError: ``place`` is redacted, and the file does not have it.
        """
        if is_redacted(place) and place not in self.secrets:
            raise ConfigError(
                f"{place}: its credentials are in no config file; write the URL with them into "
                f"{self.file or 'ml_config.yaml'}"
            )
        return self.secrets.get(place, place)

    @property
    def experiments_dir(self) -> Path:
        return self.path(self.settings.experiments.dir)

    @property
    def production_dir(self) -> Path:
        return self.path(self.settings.deployment.production_dir)

    @property
    def reports_dir(self) -> Path:
        return self.path(self.settings.reports.dir)


class Mistake(NamedTuple):
    """One mistake at one key or item of the file."""

    location: Location
    message: str


# Pairs of keys in data.quality: the first value must not be above the second.
_ORDERED = (
    ("containment_warns", "containment_blocks"),
    ("drift_warns", "drift_blocks"),
    ("separability_warns", "separability_blocks"),
    ("other_language_warns", "other_language_blocks"),
    ("wanted_detectable_difference", "max_detectable_difference"),
)
_LOCAL_TRACKERS = ("tensorboard", "none")
_NOT_OFFLINE = ", and `offline` is true: name one on this machine, or remove it"


def contradictions_of(config: Config) -> Iterator[Mistake]:
    """Values that are allowed one by one but not together."""
    yield from _column_mistakes(config.data)
    yield from _data_mistakes(config.data)
    yield from _quality_mistakes(config.data.quality)
    yield from _training_mistakes(config.training)
    yield from _deployment_mistakes(config.deployment)
    for section, key in (
        ("experiments", "dir"),
        ("reports", "dir"),
        ("deployment", "production_dir"),
    ):
        place = getattr(getattr(config, section), key)
        if "://" in place or is_redacted(place):
            yield Mistake((section, key), "is a URL; name a directory of this machine")
    if config.offline:
        yield from _network_mistakes(config)
    named = config.model.candidates
    if named != "auto" and len(set(named)) < len(named):
        yield Mistake(("model", "candidates"), "lists a candidate twice")
    helped = [name for name in named if "helped" in name]
    if helped and config.data.auxiliary_path is None:
        message = f"has {helped[0]}, which needs helper rows: set data.auxiliary_path"
        yield Mistake(("model", "candidates"), message)
    labels, count = config.data.labels, config.model.num_labels
    if labels and count and len(labels) != count:
        message = f"is {count}, but data.labels lists {len(labels)}: make them agree"
        yield Mistake(("model", "num_labels"), message)


def _column_mistakes(data: DataConfig) -> Iterator[Mistake]:
    # What may not be text as well: a model would read its answer, or learn what each row is called.
    read = {"label_column": data.label_column, "id_column": data.id_column or "id"}
    read |= {"group_column": data.group_column} if data.group_column else {}
    for index, column in enumerate(data.text_columns):
        for key in (key for key, name in read.items() if name == column):
            message = f"`{column}` is data.{key}, which must not be part of the text: remove one"
            yield Mistake(("data", "text_columns", index), message)
    for key in ("id_column", "group_column"):
        if read.get(key) == data.label_column:
            yield Mistake(("data", key), f"`{read[key]}` is also data.label_column: change one")
    if len(set(data.text_columns)) < len(data.text_columns):
        yield Mistake(("data", "text_columns"), "lists a column twice")
    for column in data.slice_columns:
        if column in (*BUILT_IN_SLICES, "code_switched"):
            message = f"`{column}` is the name of a built-in slice: rename the column"
            yield Mistake(("data", "slice_columns"), message)


def _data_mistakes(data: DataConfig) -> Iterator[Mistake]:
    if len(set(data.labels or ())) < len(data.labels or ()):
        yield Mistake(("data", "labels"), "lists a label twice")
    keys = [f"{split}_path" for split in ("train", "val", "test")]
    if own := [key for key in keys if key in data.model_fields_set]:
        # Own rows and rows of the bundled sample would be one dataset.
        message = f"is not set, but data.{own[0]} is: set all three paths, or none for the sample"
        yield from (Mistake(("data", key), message) for key in keys if key not in own)
    owner: dict[str, str] = {}
    for split in ("train", "val", "test"):
        key, paths = f"{split}_path", data.paths(split)
        for path in paths:  # files that match a pattern are compared when they are read
            first = owner.setdefault(path if "://" in path else os.path.normpath(path), key)
            if first != key:
                message = f"is the same file as data.{first}: use a file per split"
                yield Mistake(("data", key), message)
        if len(set(paths)) < len(paths):
            yield Mistake(("data", key), "lists a file twice")


def _network_mistakes(config: Config) -> Iterator[Mistake]:
    for split in ("train", "val", "test", "auxiliary", "unlabelled", "predict"):
        for path in config.data.paths(split):
            if "://" in path and not path.startswith(("file://", "memory://")):
                yield Mistake(("data", f"{split}_path"), f"is a URL{_NOT_OFFLINE}")
    uri = config.tracking.mlflow_uri
    if config.tracking.mlflow and uri and not uri.startswith(("sqlite:", "file:")):
        yield Mistake(("tracking", "mlflow_uri"), f"is no file{_NOT_OFFLINE}")
    if config.training.ray_address:
        yield Mistake(("training", "ray_address"), f"is a cluster{_NOT_OFFLINE}")
    if others := [name for name in config.training.report_to if name not in _LOCAL_TRACKERS]:
        message = f"lists {', '.join(others)}, which may call a server{_NOT_OFFLINE}"
        yield Mistake(("training", "report_to"), message)


def _quality_mistakes(quality: QualityConfig) -> Iterator[Mistake]:
    if "schema" in quality.exempt:
        message = (
            "rows that cannot be read have no columns to exempt them by: raise "
            "data.quality.max_invalid_fraction instead"
        )
        yield Mistake(("data", "quality", "exempt", "schema"), message)
    for low, high in _ORDERED:
        lower, upper = getattr(quality, low), getattr(quality, high)
        if lower > upper:
            # The mistake belongs to a key that the file has; the other may be a default.
            key = high if high in quality.model_fields_set else low
            message = f"{low} is {lower:g} and {high} is {upper:g}: {low} must not be above {high}"
            yield Mistake(("data", "quality", key), message)


def _training_mistakes(training: TrainingConfig) -> Iterator[Mistake]:
    workers, batch, backend = training.num_workers, training.batch_size, training.backend
    if len(set(training.seeds or ())) < len(training.seeds or ()):
        yield Mistake(("training", "seeds"), "lists a seed twice")
    if backend == "inline" and workers > 1:
        message = f"is {workers}, but training.backend is inline: set backend to torchrun or ray"
        yield Mistake(("training", "num_workers"), message)
    if training.ray_address and backend != "ray":
        message = f"is set, but training.backend is {backend}: set ray, or remove it"
        yield Mistake(("training", "ray_address"), message)
    if batch != "auto" and batch % workers:
        message = f"is {batch}, which is not a multiple of training.num_workers ({workers})"
        yield Mistake(("training", "batch_size"), message)


def _deployment_mistakes(deployment: DeploymentConfig) -> Iterator[Mistake]:
    if deployment.min_precision == 1.0:
        message = "is 1, which no number of rows can show: set it to 0.99 or less"
        yield Mistake(("deployment", "min_precision"), message)
    if deployment.min_coverage is not None and deployment.min_precision is None:
        message = "is set, but deployment.min_precision is not: set both, or remove it"
        yield Mistake(("deployment", "min_coverage"), message)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``ml_config.yaml``, for editors."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Config.model_json_schema()
