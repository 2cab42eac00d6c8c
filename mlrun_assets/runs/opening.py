"""A new experiment, and the sweep of those that nobody holds any more."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data.sources import digest_sources, split_sources
from mlrun_assets.errors import DataError, ExperimentError, MlrunError, message_of
from mlrun_assets.experiment import (
    Experiment,
    all_experiments,
    create_experiment,
    is_locked,
    lock_experiment,
    take_directory,
    try_lock,
    unlock_experiment,
)
from mlrun_assets.files import digest_bytes
from mlrun_assets.machine import total_memory_bytes, usable_cpus
from mlrun_assets.records import (
    SPLITS,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    Environment,
    EvaluationRecord,
    ExperimentRecord,
    Manifest,
    PriorRun,
    RunLine,
    Status,
    TrainingPlan,
    timestamp,
)
from mlrun_assets.registries.registry import read_registry, reserve_report_name
from mlrun_assets.registries.tech_debt import read_open_debt
from mlrun_assets.runs.closing import close_experiment

LONGEST_NAME = 60
PACKAGES = (
    "mlrun-assets",
    "dagster",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "datasets",
    "polars",
    "pandera",
    "scikit-learn",
    "numpy",
)
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def slug(name: str) -> str:
    """``name`` as it can stand in a file name and in one line of a registry.

    Letters of any script, digits, ``-``, ``_`` and ``.`` stay; a run of anything else becomes one
    hyphen.

    Raises:
        ExperimentError: nothing is left.
    """
    kept = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name.strip()))
    kept = kept.strip("-._")[:LONGEST_NAME].rstrip("-._")
    if not kept:
        raise ExperimentError(
            f"experiment name {name!r}: has no letter or digit; name it for example "
            "`xlm-r-fine-tune-v2`"
        )
    return kept


def observe_environment(directory: Path) -> Environment:
    """Versions, machine and git commit; ``directory`` is where git is asked."""
    commit = _git(directory, "rev-parse", "HEAD")
    changes = _git(directory, "status", "--porcelain")
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        cpu_count=usable_cpus(),
        memory_gb=round(total_memory_bytes() / 2**30, 1),
        accelerator=_accelerator(),
        packages={name: _version(name) for name in PACKAGES},
        git_commit=commit,
        git_dirty=None if changes is None else bool(changes),
        cpu_model=_cpu_model(),
        thread_limits={name: os.environ[name] for name in THREAD_LIMITS if name in os.environ},
    )


def best_run(prior_runs: tuple[PriorRun, ...], test_digest: str | None) -> PriorRun | None:
    """The earlier run with the highest F1 on the same test file: others can't be compared."""
    scored = [run for run in prior_runs if run.f1 is not None and run.test_digest == test_digest]
    return max(scored, key=lambda run: run.f1 or 0.0, default=None)


def _cpu_model() -> str | None:
    """The name of the first CPU, as the kernel gives it; None where there is no such file."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _accelerator() -> str | None:
    """The name of the first GPU that the driver knows; torch is too slow to ask here."""
    drivers = Path("/proc/driver/nvidia/gpus")
    for information in sorted(drivers.glob("*/information")):
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git or no repository."""
    try:
        result = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def collect_prior_runs(
    experiments: Iterable[Experiment], lines: Iterable[RunLine]
) -> tuple[PriorRun, ...]:
    """Earlier runs, the newest first; those known only by their line come last.

    An experiment whose records can't be read (another version wrote them) counts by its line.
    """
    registered = {line.report: line for line in lines}
    runs = []
    for experiment in experiments:
        try:
            run = _from_records(experiment, registered)
        except MlrunError:
            continue
        registered.pop(run.report, None)
        runs.append(run)
    known_by_line = [
        PriorRun(report=line.report, status=line.status, summary=line.summary)
        for line in reversed(registered.values())
    ]
    return (*runs, *known_by_line)


def _from_records(experiment: Experiment, registered: dict[str, RunLine]) -> PriorRun:
    manifest = experiment.manifest
    dataset = experiment.find(DatasetRecord)
    plan = experiment.find(TrainingPlan)
    checkpoint = experiment.find(CheckpointRecord)
    evaluation = experiment.find(EvaluationRecord)
    decision = experiment.find(DecisionRecord)
    line = registered.get(manifest.report)
    return PriorRun(
        report=manifest.report,
        status=manifest.status,
        experiment=experiment.id,
        summary=line.summary if line else "",
        created_at=manifest.created_at,
        labels=dataset.labels if dataset else (),
        data_name=dataset.name if dataset else None,
        data_digest=dataset.digest if dataset else None,
        test_digest=dataset.splits["test"].source_digest if dataset else None,
        recipe_digest=plan.recipe_digest if plan else None,
        recipe_summary=recipe_summary(plan) if plan else None,
        comparable_digest=plan.recipe.comparable_digest if plan else None,
        learning_rate=plan.recipe.learning_rate if plan else None,
        val_digest=dataset.splits["val"].source_digest if dataset else None,
        val_f1_macro=_val_f1_macro(checkpoint) if checkpoint else None,
        verdict=decision.verdict if decision else None,
        verdict_reason=decision.sentence if decision else None,
        accuracy=evaluation.test.accuracy.value if evaluation else None,
        f1=evaluation.f1.value if evaluation else None,
    )


def _val_f1_macro(checkpoint: CheckpointRecord) -> float:
    """That of the best epoch, as a mean over the seeds: the best of many would flatter a recipe."""
    if checkpoint.seeds:
        return fmean(seed.val_f1_macro for seed in checkpoint.seeds)
    return max(epoch.val_f1_macro for epoch in checkpoint.history)


def recipe_summary(plan: TrainingPlan) -> str:
    """A plan in a few words."""
    recipe, seeds = plan.recipe, [each.seed for each in plan.recipes]
    return (
        f"{recipe.encoder}, {recipe.epochs} epochs, batch {recipe.batch_size}, learning rate "
        f"{recipe.learning_rate:g}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )


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
    experiment = _create(config, _RunName(name, wanted), run_id, inputs)
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


class _RunName(NamedTuple):
    """A name as it was given, and as it can stand in a file name; None: none was given."""

    given: str | None
    slug: str | None


def _create(
    config: LoadedConfig, called: _RunName, run_id: str, inputs: dict[str, str]
) -> Experiment:
    now = datetime.now(UTC)
    directory = take_directory(config.experiments_dir, now)
    lock_experiment(directory)
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
        unlock_experiment(directory)
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
        if experiment.manifest.status is not Status.RUNNING or is_locked(experiment.directory):
            continue
        try:
            if try_lock(experiment.directory) and experiment.manifest.status is Status.RUNNING:
                stages = experiment.manifest.stages
                killed = not stages or any(run.status == "running" for run in stages.values())
                status = Status.INTERRUPTED if killed else Status.PARTIAL
                close_experiment(experiment, experiment.config(config), status)
                swept.append(experiment)
        except (MlrunError, OSError) as error:
            report(f"{experiment.id}: abandoned, and can't be closed: {message_of(error)}")
        finally:
            unlock_experiment(experiment.directory)
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
