"""From the file to the config, or to an error that lists all its mistakes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlrun_assets.config.contradictions import contradictions_of
from mlrun_assets.config.mistakes import mistakes_in
from mlrun_assets.config.variables import CONFIG_VARIABLE
from mlrun_assets.config.whole import Config, LoadedConfig
from mlrun_assets.config_source import ConfigSource, Mistake, read_source
from mlrun_assets.errors import ConfigError

DEFAULT_CONFIG_FILE = "ml_config.yaml"


def load_config(file: Path | str | None = None) -> LoadedConfig:
    """Read the config file.

    Args:
        file: the file; None: the one that ``MLRUN_CONFIG`` names, else ``ml_config.yaml`` in the
            working directory, else all defaults.

    Raises:
        ConfigError: the file is missing though it was named, is not YAML, or has mistakes; the
            message lists all of them, each with its line.
    """
    named = file or os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_CONFIG_FILE).expanduser().absolute()
    if not named and not path.exists():
        return LoadedConfig(settings=Config(), directory=path.parent)
    source = read_source(path)
    return LoadedConfig(settings=parse_config(source), directory=path.parent, file=path)


def parse_config(source: ConfigSource) -> Config:
    """The config in ``source``.

    Raises:
        ConfigError: as in `load_config`.
    """
    mistakes = list(source.mistakes)
    try:
        config = Config.model_validate(source.values)
    except ValidationError as error:
        wrong = mistakes_in(error, source)
        mistakes += wrong
        # What is right may contradict itself too, and is to be told in the same breath.
        config = Config.model_validate(_without(source.values, wrong))
    mistakes += contradictions_of(config)
    if mistakes:
        raise ConfigError(source.describe(mistakes))
    return config


def _without(values: dict[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """``values`` without the sections' keys in which there is a mistake: they take defaults."""
    wrong = {mistake.location[:2] for mistake in mistakes}
    return {
        section: {key: value for key, value in keys.items() if (section, key) not in wrong}
        for section, keys in values.items()
        if (section,) not in wrong and isinstance(keys, dict)
    }
