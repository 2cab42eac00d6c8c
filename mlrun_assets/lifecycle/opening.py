"""A new experiment, and the sweep of those that nobody holds any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import DataError, MlrunError, message_of
from mlrun_assets.experiment_store import (
    Experiment,
    all_experiments,
    create_experiment,
    take_directory,
)
from mlrun_assets.files import digest_bytes
from mlrun_assets.lifecycle.closing import close_experiment
from mlrun_assets.lifecycle.holding import hold, is_held, release, try_hold
from mlrun_assets.records import SPLITS, ExperimentRecord, Manifest, Status, timestamp
from mlrun_assets.stages.experiment import best_run, observe_environment, slug
from mlrun_assets.stages.prior_runs import collect_prior_runs
from mlrun_assets.stages.quality.reading import digest_sources, split_sources
from mlrun_assets.stages.registry import read_registry, reserve_report_name
from mlrun_assets.stages.tech_debt import read_open_debt


def open_experiment(
    config: LoadedConfig,
    name: str | None,
    run_id: str,
    report: Callable[[str], None] = lambda _: None,
) -> Experiment:
    """Take a directory and a report name that no other run has, and read what earlier runs found.

    The registry shows the run as ``Running`` from here on, until it is closed.

    Raises:
        ExperimentError: the name can't be used, or the directory can't be written.
        RecordError: a registry can't be read or written.
    """
    name = name.strip() if name else None
    wanted = slug(name) if name else None
    sweep_abandoned(config, report)
    registry = read_registry(config.reports_dir)
    inputs = input_digests(config)
    prior = collect_prior_runs(all_experiments(config.experiments_dir), registry.runs)
    best = best_run(prior, inputs.get("test"))
    open_debt = read_open_debt(config.reports_dir)
    experiment = _create(config, _Called(name, wanted), run_id, inputs)
    experiment.save(
        ExperimentRecord(
            name=experiment.manifest.name,
            config_digest=digest_bytes(config.settings.to_yaml().encode()),
            environment=observe_environment(config.directory),
            prior_runs=prior,
            best_run=best.report if best else None,
            unreadable_lines=registry.unreadable,
            open_debt=open_debt,
        )
    )
    return experiment


class _Called(NamedTuple):
    """A name as it was given, and as it can stand in a file name; None: none was given."""

    given: str | None
    slug: str | None


def _create(
    config: LoadedConfig, called: _Called, run_id: str, inputs: dict[str, str]
) -> Experiment:
    now = datetime.now(UTC)
    directory = take_directory(config.experiments_dir, now)
    hold(directory)
    try:
        name = called.slug or directory.name
        report = reserve_report_name(config.reports_dir, name, f"{now:%Y%m%d}")
        manifest = Manifest(
            id=directory.name,
            name=name,
            original_name=called.given if called.given != name else None,
            report=report,
            status=Status.RUNNING,
            created_at=timestamp(now),
            run_ids=(run_id,),
            inputs=inputs,
        )
        return create_experiment(directory, manifest, config)
    except BaseException:
        release(directory)
        shutil.rmtree(directory)
        raise


def sweep_abandoned(
    config: LoadedConfig, report: Callable[[str], None] = lambda _: None
) -> list[Experiment]:
    """Close the experiments that are still ``Running`` though no process holds them.

    One that is in the middle of a stage was killed: ``Interrupted``. Of one whose stages all came
    to an end only some assets were run, or it was killed between two: ``Partial``. One that can't
    be closed is reported and left for the next sweep: it must not stop a new run.
    """
    swept = []
    for experiment in all_experiments(config.experiments_dir):
        if experiment.manifest.status is not Status.RUNNING or is_held(experiment.directory):
            continue
        try:
            if try_hold(experiment.directory) and experiment.manifest.status is Status.RUNNING:
                stages = experiment.manifest.stages
                killed = not stages or any(run.status == "running" for run in stages.values())
                status = Status.INTERRUPTED if killed else Status.PARTIAL
                close_experiment(experiment, experiment.config(config), status)
                swept.append(experiment)
        except (MlrunError, OSError) as error:
            report(f"{experiment.id}: abandoned, and can't be closed: {message_of(error)}")
        finally:
            release(experiment.directory)
    return swept


def input_digests(config: LoadedConfig) -> dict[str, str]:
    """A digest of the local files of each split; what is at a URL has none before it is fetched.

    A file that is missing is the data stage's error to report.
    """
    digests = {}
    for split in SPLITS:
        with suppress(DataError):
            digests[split] = digest_sources(split_sources(config, split))
    return {split: digest for split, digest in digests.items() if digest}
