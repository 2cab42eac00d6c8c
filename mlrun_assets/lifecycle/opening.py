"""A new experiment, and the sweep of those that nobody holds any more."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import DataError
from mlrun_assets.experiment_store import (
    Experiment,
    all_experiments,
    create_experiment,
    take_directory,
)
from mlrun_assets.files import digest_bytes
from mlrun_assets.lifecycle.closing import close_experiment
from mlrun_assets.lifecycle.holding import hold, is_held, release
from mlrun_assets.records import SPLITS, ExperimentRecord, Manifest, Status
from mlrun_assets.stages.experiment import best_run, observe_environment, slug, timestamp
from mlrun_assets.stages.prior_runs import RegisteredRun, collect_prior_runs
from mlrun_assets.stages.production import read_production
from mlrun_assets.stages.quality.reading import digest_sources, split_sources
from mlrun_assets.stages.registry import RegistryView, read_registry, reserve_report_name
from mlrun_assets.stages.tech_debt import read_open_debt


def open_experiment(config: LoadedConfig, name: str | None, run_id: str) -> Experiment:
    """Take a directory and a report name that no other run has, and read what earlier runs found.

    The registry shows the run as ``Running`` from here on, until it is closed.

    Raises:
        ExperimentError: the name can't be used, or the directory can't be written.
        RecordError: a registry can't be read or written.
        ProductionError: the production pointer leads nowhere.
    """
    name = name.strip() if name else None
    wanted = slug(name) if name else None
    sweep_abandoned(config)
    registry = read_registry(config.reports_dir)
    earlier = all_experiments(config.experiments_dir)
    production = read_production(config.production_dir)
    experiment = _create(config, name, wanted, run_id)
    manifest = experiment.manifest
    prior = collect_prior_runs(earlier, _registered(registry))
    best = best_run(prior, manifest.inputs.get("test"))
    experiment.save(
        ExperimentRecord(
            id=manifest.id,
            name=manifest.name,
            original_name=manifest.original_name,
            report=manifest.report,
            config_digest=digest_bytes(config.config.to_yaml().encode()),
            environment=observe_environment(config.directory),
            prior_runs=prior,
            best_run=best.report if best else None,
            unreadable_lines=registry.unreadable,
            open_debt=read_open_debt(config.reports_dir),
            production=production,
        )
    )
    return experiment


def _create(config: LoadedConfig, name: str | None, wanted: str | None, run_id: str) -> Experiment:
    now = datetime.now(UTC)
    directory = take_directory(config.experiments_dir, now)
    hold(directory)
    try:
        called = wanted or directory.name
        report = reserve_report_name(config.reports_dir, called, f"{now:%Y%m%d}")
        manifest = Manifest(
            id=directory.name,
            name=called,
            original_name=name if name != called else None,
            report=report,
            status=Status.RUNNING,
            created_at=timestamp(now),
            run_ids=(run_id,),
            inputs=_input_digests(config),
        )
        return create_experiment(directory, manifest, config)
    except BaseException:
        release(directory)
        shutil.rmtree(directory)
        raise


def sweep_abandoned(config: LoadedConfig) -> list[Experiment]:
    """Close the experiments that are still ``Running`` though no process holds them.

    One whose stages all came to an end was a run of some assets only: ``Partial``. One in the
    middle of a stage was killed: ``Interrupted``.
    """
    swept = []
    for experiment in all_experiments(config.experiments_dir):
        manifest = experiment.manifest
        if manifest.status is Status.RUNNING and not is_held(experiment.directory):
            killed = [name for name, run in manifest.stages.items() if run.status == "running"]
            status = Status.INTERRUPTED if killed or not manifest.stages else Status.PARTIAL
            close_experiment(experiment, config, status)
            swept.append(experiment)
    return swept


def _registered(registry: RegistryView) -> list[RegisteredRun]:
    return [RegisteredRun(run.report, run.status, run.summary) for run in registry.runs]


def _input_digests(config: LoadedConfig) -> dict[str, str]:
    """A digest of the local files of each split; what is at a URL has none before it is fetched.

    A file that is missing is the data stage's error to report.
    """
    digests = {}
    for split in SPLITS:
        with suppress(DataError):
            digests[split] = digest_sources(split_sources(config, split))
    return {split: digest for split, digest in digests.items() if digest}
