"""The model of production, or of an experiment, given away."""

from __future__ import annotations

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import MlrunError, PublishError
from mlrun_assets.experiment_store import find_experiment
from mlrun_assets.lifecycle.describing import write_model_card
from mlrun_assets.records import ExportRecord, ProductionVersion
from mlrun_assets.stages.production import find_version, read_production, verify, verify_files
from mlrun_assets.stages.publishing import Published, publish


def push(config: LoadedConfig, target: str, name: str | None, *, public: bool) -> str:
    """Push a version or an experiment's model, verified, with its card; returns where it is now.

    Args:
        config: the config that says where production and the experiments are.
        target: a directory or a repository of the Hub.
        name: a version of production or an experiment; None: the version that serves.
        public: whether everybody may see a repository of the Hub.

    Raises:
        ExperimentError: there is neither a version nor an experiment of that name.
        ProductionError: nothing is in production, or the files are not those that were recorded.
        PublishError: the target can't be pushed to.
        RecordError: the experiment has no exported and evaluated model.
    """
    return publish(_published(config, name), target, public=public)


def _published(config: LoadedConfig, name: str | None) -> Published:
    production = config.production_dir
    version = read_production(production) if name is None else find_version(production, name)
    if version:
        model_dir = verify(production, version)
        return Published(version.version, model_dir, _card_of(config, version))
    if name is None:
        raise PublishError(
            f"{production}: nothing is in production; name an experiment with --version"
        )
    experiment = find_experiment(config.experiments_dir, name, ())
    export = experiment.load(ExportRecord)
    model_dir = experiment.directory / export.model_dir
    verify_files(model_dir, export.digest)
    return Published(experiment.id, model_dir, write_model_card(experiment, config))


def _card_of(config: LoadedConfig, version: ProductionVersion) -> str | None:
    """A card for a version that holds none, from its experiment; None: it holds one, or can't."""
    if version.export_digest is not None:
        return None
    try:
        return write_model_card(
            find_experiment(config.experiments_dir, version.experiment, ()), config
        )
    except MlrunError:  # the experiment is gone, or of a version that can't be read any more
        return None
