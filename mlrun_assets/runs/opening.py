"""A new experiment: its name, environment and earlier runs. Killed experiments are closed here."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import fmean

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data.sources import digest_sources, inputs_of_run, split_sources
from mlrun_assets.errors import ConfigError, MlrunError, count, message_of
from mlrun_assets.experiment import (
    Experiment,
    all_experiments,
    create_experiment,
    lock_experiment,
    locked_if_free,
    remove_unopened,
    slug,
    take_directory,
    unlock_experiment,
)
from mlrun_assets.files import digest_bytes, remove_leftovers
from mlrun_assets.machine import (
    RECORDED_VARIABLES,
    ROOT,
    first_value,
    total_memory_bytes,
    usable_cpus,
)
from mlrun_assets.production.versions import VERSIONS_DIR
from mlrun_assets.records import (
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
from mlrun_assets.registries.registry import (
    mentioned_reports,
    read_registry,
    report_file,
    reserve_report_name,
    write_run_line,
)
from mlrun_assets.registries.tech_debt import read_open_debt
from mlrun_assets.reports.tables import MOST_RUNS
from mlrun_assets.runs.closing import close_experiment, reconcile, run_summary
from mlrun_assets.types import ProgressCallback

# A record holds at most so many earlier experiments, and of those the newest in any case.
MOST_PRIOR_RUNS, NEWEST_PRIOR_RUNS = 100, 50
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


def open_experiment(
    config: LoadedConfig,
    name: str | None,
    run_id: str,
    progress: ProgressCallback = lambda _: None,
) -> Experiment:
    """Create an experiment with its own directory and report name, and lock it.

    Its record holds the environment, the earlier runs and the open tech debt. The registry shows
    the run as ``Running`` until it is closed.

    Raises:
        ExperimentError: the name can't be used, or the directory can't be written.
        RecordError: a registry can't be read or written.
    """
    name = name.strip() if name else None
    if name:
        slug(name)  # a wrong name fails before anything is written
    sweep_abandoned(config, progress)
    registry = read_registry(config.reports_dir)
    inputs = input_digests(config)
    prior = collect_prior_runs(all_experiments(config.experiments_dir), registry.runs)
    # Runs on another test file are not comparable.
    scored = [run for run in prior if run.f1 is not None and run.test_digest == inputs.get("test")]
    best = max(scored, key=lambda run: run.f1 or 0.0, default=None)
    open_debt_items = len(read_open_debt(config.reports_dir))
    experiment = _create(config, name, run_id, inputs)
    experiment.save(
        ExperimentRecord(
            name=experiment.manifest.name,
            config_digest=digest_bytes(config.settings.to_yaml().encode()),
            environment=observe_environment(config.directory),
            prior_runs=usable_runs(prior),
            known_runs=len(prior),
            best_run=best.report if best else None,
            unreadable_lines=registry.unreadable,
            open_debt_items=open_debt_items,
        )
    )
    return experiment


def _create(
    config: LoadedConfig, given: str | None, run_id: str, inputs: dict[str, str]
) -> Experiment:
    now = datetime.now(UTC)
    directory = take_directory(config.experiments_dir, now)
    lock_experiment(directory)
    report = None
    try:
        name = slug(given) if given else directory.name
        report = reserve_report_name(config.reports_dir, name, f"{now:%Y%m%d}")
        manifest = Manifest(
            id=directory.name,
            name=name,
            original_name=given if given != name else None,
            report=report,
            status=Status.RUNNING,
            created_at=timestamp(now),
            run_ids=(run_id,),
            inputs=inputs,
            overrides=config.overrides,
        )
        return create_experiment(directory, manifest, config)
    except BaseException as error:
        if report:
            with suppress(MlrunError, OSError):  # the next run closes the line
                why = f"not opened: {message_of(error)}"
                write_run_line(config.reports_dir, report, Status.FAILED, why)
        unlock_experiment(directory)
        shutil.rmtree(directory, ignore_errors=True)
        raise


def input_digests(config: LoadedConfig) -> dict[str, str]:
    """The digests of the local files by split; data at a URL has none before it is fetched."""
    digests = {}
    for split in inputs_of_run(config):
        with suppress(MlrunError):  # the data stage reports a missing file
            digests[split] = digest_sources(split_sources(config, split))
    return {split: digest for split, digest in digests.items() if digest}


def sweep_abandoned(config: LoadedConfig, progress: ProgressCallback = lambda _: None) -> None:
    """Put in order what killed processes left. What can't be is reported and left.

    Experiments that are ``Running`` but not locked are closed: as ``Interrupted`` if they were
    killed during a stage, as ``Partial`` if all their stages ended, because only some assets were
    run or they were killed between two. Lines whose experiment is gone are closed, lines that an
    editor has removed are restored, temporary files are removed, and a move of production is
    finished and recorded everywhere.
    """

    def attempt(what: str, step: Callable[..., None], *arguments: object) -> None:
        try:  # nothing of this may stop a new run
            step(*arguments)
        except (MlrunError, OSError) as error:
            progress(f"{what}: {message_of(error)}")

    attempt("temporary files were left", _remove_leftovers, config)
    for experiment in all_experiments(config.experiments_dir):
        if experiment.manifest.status is Status.RUNNING:
            what = f"{experiment.id}: was killed and can't be closed"
            attempt(what, _close_abandoned, experiment, config)
    attempt("runs without an experiment can't be closed", _close_lines, config)
    attempt("lines of runs that have ended can't be restored", _restore_lines, config)
    attempt("a move of production is not recorded everywhere", reconcile, config)


def _remove_leftovers(config: LoadedConfig) -> None:
    reports = report_file(config.reports_dir, "any").parent
    production = config.production_dir
    for directory in (config.reports_dir, reports, production, production / VERSIONS_DIR):
        remove_leftovers(directory)
    remove_leftovers(config.experiments_dir, below=True)


def _close_abandoned(experiment: Experiment, config: LoadedConfig) -> None:
    """Close the experiment unless a process, this one included, has its lock."""
    with locked_if_free(experiment.directory) as free:
        manifest = experiment.manifest
        if free and manifest.status is Status.RUNNING:  # else its process has just closed it
            if not experiment.paths.config.exists():
                experiment.freeze(config.settings)
            stages = manifest.stages.values()
            killed = not stages or any(run.status == "running" for run in stages)
            status = Status.INTERRUPTED if killed else Status.PARTIAL
            close_experiment(experiment, experiment.config(config), status)


# What this package writes behind `Running`; a person's line for a run elsewhere says other things.
_OWN_SUMMARIES = ("started", "resumed", "accuracy ")


def _close_lines(config: LoadedConfig) -> None:
    """Close the lines that are ``Running`` and whose experiment is gone, or was never opened."""
    # In this order: the line of an experiment that is being opened has no manifest yet.
    lines = read_registry(config.reports_dir).runs
    if remove_unopened(config.experiments_dir):
        return
    known = {each.manifest.report for each in all_experiments(config.experiments_dir)}
    for line in lines:
        lost = line.status == Status.RUNNING and line.report not in known
        if lost and line.summary.startswith(_OWN_SUMMARIES):
            why = f"{line.summary}, its experiment is gone"
            write_run_line(config.reports_dir, line.report, Status.INTERRUPTED, why)


def _restore_lines(config: LoadedConfig) -> None:
    """Write the lines of ended runs that are missing, or ``Running`` again.

    An editor that opened the registry before a run wrote its line, and saves it later, removes the
    line. One that a person has put into a comment or a code block is not missing.
    """
    lines = {line.report: line for line in read_registry(config.reports_dir).runs}
    ended = [
        each
        for each in all_experiments(config.experiments_dir)
        if each.manifest.status is not Status.RUNNING
    ]
    lost = [each for each in ended if _is_lost(lines.get(each.manifest.report))]
    kept = mentioned_reports(config.reports_dir).difference(lines) if lost else set()
    for experiment in reversed(lost):
        with locked_if_free(experiment.directory) as free, suppress(ConfigError):
            manifest = experiment.manifest
            here = experiment.config(config).reports_dir == config.reports_dir
            if (
                free
                and here
                and manifest.status is not Status.RUNNING
                and manifest.report not in kept
            ):
                summary = run_summary(experiment, config, manifest.error)
                write_run_line(config.reports_dir, manifest.report, manifest.status, summary)


def _is_lost(line: RunLine | None) -> bool:
    """Whether a line is missing, or is that of a run that has not ended."""
    return line is None or (
        line.status == Status.RUNNING and line.summary.startswith(_OWN_SUMMARIES)
    )


# Environment


def observe_environment(directory: Path, root: Path = ROOT) -> Environment:
    """Versions, machine, and the git commit of ``directory``; ``root`` is as in `machine`."""
    changes = _git(directory, "status", "--porcelain")
    drivers = root / "proc/driver/nvidia/gpus"
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        cpu_count=usable_cpus(),
        memory_gb=round(total_memory_bytes() / 2**30, 1),
        # From the driver: importing torch would take seconds.
        accelerator=first_value(sorted(drivers.glob("*/information")), "Model:"),
        packages={name: _version(name) for name in PACKAGES},
        git_commit=_git(directory, "rev-parse", "HEAD"),
        git_dirty=None if changes is None else bool(changes),
        cpu_model=first_value([root / "proc/cpuinfo"], "model name"),
        thread_limits={each: os.environ[each] for each in RECORDED_VARIABLES if each in os.environ},
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(directory: Path, *arguments: str) -> str | None:
    """The output of git; None without git or a repository."""
    command = ["git", "-C", str(directory), *arguments]
    try:
        output = subprocess.check_output(command, text=True, timeout=10, stderr=subprocess.DEVNULL)
    except (FileNotFoundError, subprocess.SubprocessError):
        return None
    return output.strip()


# Earlier runs


def collect_prior_runs(
    experiments: Iterable[Experiment], lines: Iterable[RunLine]
) -> tuple[PriorRun, ...]:
    """Earlier runs, the newest first; runs that only have a registry line come last.

    An experiment whose records can't be read is represented by its registry line.
    """
    registered = {line.report: line for line in lines}
    runs = []
    for experiment in experiments:
        with suppress(MlrunError):
            runs.append(_from_records(experiment, registered))
            registered.pop(runs[-1].report, None)
    runs += [
        PriorRun(report=line.report, status=line.status, summary=line.summary)
        for line in reversed(registered.values())
    ]
    return tuple(runs)


def usable_runs(prior: Sequence[PriorRun]) -> tuple[PriorRun, ...]:
    """The earlier runs that a plan and the report can use; bounded, however long a project lives.

    They are the newest experiments, of the older ones the best on val with each recipe and data,
    and the newest runs that only have a line.
    """
    experiments = [run for run in prior if run.experiment]
    best: dict[tuple[str | None, str | None], PriorRun] = {}
    for run in experiments[NEWEST_PRIOR_RUNS:]:
        key = (run.recipe_digest, run.data_digest)
        if (run.val_f1_macro or 0.0) > (best.setdefault(key, run).val_f1_macro or 0.0):
            best[key] = run
    kept = [*experiments[:NEWEST_PRIOR_RUNS], *best.values()][:MOST_PRIOR_RUNS]
    lines = (run for run in prior if not run.experiment)
    return (*kept, *sorted(lines, key=lambda run: run.when, reverse=True)[:MOST_RUNS])


def _from_records(experiment: Experiment, registered: dict[str, RunLine]) -> PriorRun:
    manifest = experiment.manifest
    dataset = experiment.find(DatasetRecord)
    plan = experiment.find(TrainingPlan)
    checkpoint = experiment.find(CheckpointRecord)
    evaluation = experiment.find(EvaluationRecord)
    decision = experiment.find(DecisionRecord)
    line = registered.get(manifest.report)
    # The best seed would flatter a recipe, so the mean counts.
    tuned = checkpoint and checkpoint.fine_tuning
    seeds = tuned.seeds if tuned else ()
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
        recipe_summary=recipe_summary(plan, checkpoint) if plan else None,
        comparable_digest=plan.recipe.comparable_digest if plan else None,
        learning_rate=plan.recipe.learning_rate if plan else None,
        val_digest=dataset.splits["val"].source_digest if dataset else None,
        val_f1_macro=fmean(seed.val_f1_macro for seed in seeds) if seeds else None,
        verdict=decision.verdict if decision else None,
        verdict_reason=decision.sentence if decision else None,
        accuracy=evaluation.test.accuracy.value if evaluation else None,
        f1=evaluation.f1.value if evaluation else None,
    )


def recipe_summary(plan: TrainingPlan, checkpoint: CheckpointRecord | None) -> str:
    """The chosen candidate, encoder, epochs, batch size, learning rate and seeds, in one line."""
    recipe, seeds = plan.recipe, [each.seed for each in plan.recipes]
    chosen = f"{checkpoint.chosen} with " if checkpoint else ""
    return (
        f"{chosen}{recipe.encoder}, {count(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, "
        f"learning rate {recipe.learning_rate:g}, "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )
