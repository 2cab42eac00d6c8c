"""Two models side by side: versions of production, or experiments."""

from __future__ import annotations

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError
from mlrun_assets.experiment_store import find_experiment, run_records
from mlrun_assets.records import ProductionVersion, RunRecords
from mlrun_assets.reporting.model_diff import Side
from mlrun_assets.stages.production import (
    find_version,
    last_move_to,
    read_production,
    served_before,
    versions,
)


def two_sides(config: LoadedConfig, names: tuple[str, ...]) -> tuple[Side, Side]:
    """The two models that are meant, the older or the one to compare with first.

    Args:
        config: the config that says where production and the experiments are.
        names: two versions or experiments; one: it is compared with production; none: production
            is compared with the version that served before.

    Raises:
        ExperimentError: there is neither a version nor an experiment of a name.
        ProductionError: production is to be compared, and there is nothing to compare.
    """
    if len(names) == 2:
        first, second = names
        return _side(config, first), _side(config, second)
    serving = read_production(config.production_dir)
    if serving is None:
        raise ProductionError(
            f"{config.production_dir}: nothing is in production; name two experiments, as in "
            "`mlrun-assets diff A B`"
        )
    if names:
        return _side(config, serving.version), _side(config, names[0])
    before = served_before(config.production_dir, serving.version)
    if before is None:
        raise ProductionError(
            f"{config.production_dir}: nothing served before {serving.version}; name what to "
            "compare it with, as in `mlrun-assets diff EXPERIMENT`"
        )
    return _side(config, before), _side(config, serving.version)


def _side(config: LoadedConfig, name: str) -> Side:
    version = find_version(config.production_dir, name)
    if version:
        move = last_move_to(config.production_dir, name)
        return Side(name, version, move, _run_of(config, version))
    try:
        experiment = find_experiment(config.experiments_dir, name, ())
    except ExperimentError as error:
        known = ", ".join(each.version for each in versions(config.production_dir)) or "none"
        raise ExperimentError(f"{error}; versions of production: {known}") from None
    return Side(experiment.id, None, None, run_records(experiment.manifest, experiment))


def _run_of(config: LoadedConfig, version: ProductionVersion) -> RunRecords | None:
    """What the experiment of a version recorded; None: it is no longer there."""
    try:
        experiment = find_experiment(config.experiments_dir, version.experiment, ())
    except ExperimentError:
        return None
    return run_records(experiment.manifest, experiment)
