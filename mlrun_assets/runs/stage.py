"""One stage of an experiment: lock, clock, record, failure; and how a stopped run is resumed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from mlrun_assets.config import LoadedConfig
from mlrun_assets.decision.verdict import blocked
from mlrun_assets.errors import DataBlockedError, ExperimentError, MlrunError, message_of
from mlrun_assets.experiment import (
    Experiment,
    all_experiments,
    experiment_of_run,
    find_experiment,
    lock_experiment,
    unlock_experiment,
)
from mlrun_assets.machine import peak_memory_mb
from mlrun_assets.progress import Lines, current_view, shown_by
from mlrun_assets.records import (
    CheckpointRecord,
    DatasetRecord,
    ExperimentRecord,
    Record,
    StageRun,
    Status,
    TrainingPlan,
)
from mlrun_assets.reports import formatting
from mlrun_assets.reports.summaries import fact_of
from mlrun_assets.runs import MADE_FROM, STAGE_RECORDS, dependants
from mlrun_assets.runs.closing import (
    close_experiment,
    done_stages,
    reconcile,
    reopen_experiment,
)
from mlrun_assets.runs.opening import input_digests
from mlrun_assets.types import ProgressCallback

AnyRecord = TypeVar("AnyRecord", bound=Record)
ENDED_BADLY = (Status.FAILED, Status.CANCELLED, Status.BLOCKED)


@dataclass(frozen=True)
class Stage:
    """The experiment that an asset works on, with the experiment's own config and the run's id."""

    experiment: Experiment
    config: LoadedConfig
    run_id: str
    progress: ProgressCallback

    @property
    def directory(self) -> Path:
        return self.experiment.directory

    def load(self, kind: type[AnyRecord]) -> AnyRecord:
        """The record of an earlier stage of this experiment."""
        return self.experiment.load(kind)

    def save(self, record: AnyRecord) -> AnyRecord:
        """Save the record of this stage and return it."""
        self.experiment.save(record)
        return record


@contextmanager
def run_stage(stage: Stage, name: str) -> Iterator[Stage]:
    """Run the body of the asset ``name`` and record how it ended.

    Running an asset invalidates everything downstream: those records are removed first. An error
    closes the experiment as ``Failed``, Ctrl-C and termination as ``Cancelled``. A failed run stays
    failed: Dagster continues with assets that do not depend on the failed one, and their success
    does not change the status.

    Raises:
        ExperimentError: another process works on the experiment.
    """
    experiment = stage.experiment
    lock_experiment(experiment.directory)
    if stage.run_id not in experiment.manifest.run_ids:
        experiment.update(run_ids=(*experiment.manifest.run_ids, stage.run_id))
    if experiment.manifest.status is not Status.RUNNING and not _has_ended_badly(stage):
        reopen_experiment(experiment, stage.config)
    experiment.forget(dependants(name))
    clock = _Clock(experiment, name)
    view = current_view() or Lines(stage.progress)
    view.begin(name)
    try:
        with shown_by(view):
            yield stage
    except Exception as error:
        close_after_error(stage, Status.FAILED, f"{name}: {message_of(error)}", clock)
        raise
    except BaseException:
        close_after_error(stage, Status.CANCELLED, f"cancelled in {name}", clock)
        raise
    else:
        seconds = clock.stop("done")
        stage.progress(f"{_fact(experiment, name)}{formatting.seconds(seconds)}")
    finally:
        view.begin("")
        _release(stage)


def _fact(experiment: Experiment, name: str) -> str:
    """The fact that matters about what the stage made, before its time; empty if there is none."""
    record = experiment.find(STAGE_RECORDS[name]) if name in STAGE_RECORDS else None
    return f"{fact}, " if record and (fact := fact_of(record)) else ""


def _release(stage: Stage) -> None:
    """Unlock the experiment of a run that has ended, and correct what production made wrong.

    Production may have moved while this process wrote its report: whoever moved it leaves the
    reports of a locked experiment alone.
    """
    try:
        if stage.experiment.manifest.status is not Status.RUNNING:
            unlock_experiment(stage.experiment.directory)
            reconcile(stage.config)
    except (MlrunError, OSError) as error:
        stage.progress(f"{stage.experiment.id}: not recorded everywhere: {message_of(error)}")


def require_ready(stage: Stage) -> None:
    """Close the experiment as ``Blocked``, with that verdict, if a data check blocks.

    Raises:
        DataBlockedError: a check blocks; the message has a line for each.
    """
    checks = stage.load(DatasetRecord).checks
    why = "\n".join(f"{check.name}: {check.message}" for check in checks if check.blocks)
    if why:
        stage.save(blocked(why))
        close_after_error(stage, Status.BLOCKED, why)
        lists = stage.experiment.paths.listed_rows().items()
        raise DataBlockedError(
            "the data does not meet the standards; fix it, or list a check in data.quality.skip:\n"
            + "\n".join([why, *(f"{what}: {file}" for what, file in lists)])
        )


def _has_ended_badly(stage: Stage) -> bool:
    manifest = stage.experiment.manifest
    return manifest.status in ENDED_BADLY and manifest.closed_by == stage.run_id


def close_after_error(stage: Stage, status: Status, why: str, clock: _Clock | None = None) -> None:
    """Close the experiment with ``status``; a second error must not hide the first, ``why``.

    ``clock`` is that of the stopped stage; None: no stage was running.
    """
    try:
        if clock:
            clock.stop(status.lower())
        if not _has_ended_badly(stage):
            close_experiment(stage.experiment, stage.config, status, error=why, run_id=stage.run_id)
    except (MlrunError, OSError) as error:
        stage.progress(
            f"{stage.experiment.id}: {status}, but not recorded everywhere: {message_of(error)}"
        )


class _Clock:
    """Write to the manifest that a stage is running, then its time and peak memory."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._experiment, self._name = experiment, name
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._write(StageRun(status="running"))

    def stop(self, status: str) -> float:
        """Write how the stage ended; returns its seconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        memory = round(peak_memory_mb(), 1)
        figures = {"seconds": round(wall, 3), "cpu_seconds": round(cpu, 3)}
        self._write(StageRun(status=status, **figures, peak_memory_mb=memory))
        return wall

    def _write(self, run: StageRun) -> None:
        self._experiment.update(stages={**self._experiment.manifest.stages, self._name: run})


# Another run of some stages


def find_to_continue(parent: Path, stages: Collection[str], run_ids: Iterable[str]) -> Experiment:
    """The experiment for a run of ``stages`` that does not open one.

    Preferred is an experiment without `missing_sources`: the first that one of ``run_ids`` worked
    on, else the newest.

    Raises:
        ExperimentError: there is no experiment at all.
    """
    of_runs = filter(None, (experiment_of_run(parent, run_id) for run_id in run_ids))
    candidates = [*of_runs, *all_experiments(parent)]
    if not candidates:
        raise ExperimentError(
            f"{parent}: no experiment yet; materialize the asset `experiment` first, or everything "
            "with `mlrun-assets run`"
        )
    usable = (each for each in candidates if not missing_sources(each, stages))
    return next(usable, candidates[0])


def missing_sources(experiment: Experiment, stages: Collection[str]) -> list[str]:
    """The `sources_of` ``stages`` that are not done in the experiment or that they invalidate."""
    invalidated: set[str] = set().union(*(dependants(name) for name in stages))
    usable = _done_with_record(experiment) - invalidated
    return [name for name in sources_of(stages) if name not in usable]


def sources_of(stages: Collection[str]) -> list[str]:
    """The stages that ``stages`` are made from and that are not among them."""
    made_from = {source for stage in stages for source in MADE_FROM[stage]}
    return [name for name in MADE_FROM if name in made_from and name not in stages]


def _done_with_record(experiment: Experiment) -> set[str]:
    done = done_stages(experiment)
    return {name for name, kind in STAGE_RECORDS.items() if name in done and experiment.find(kind)}


# Settings that say where training runs; they do not change the model.
EXECUTION_KEYS = ("backend", "num_workers", "ray_address")


class ResumedRun(NamedTuple):
    """A locked experiment, and the stages that are left, in the order of the graph.

    A stage is left if it is not done, or if a stage that it is made from is left. With no stage
    left, the experiment is complete.
    """

    experiment: Experiment
    stages: tuple[str, ...]


def resume_experiment(config: LoadedConfig, wanted: str, progress: ProgressCallback) -> ResumedRun:
    """Lock a stopped experiment (its id or name) and find the stages that are left.

    The run continues with its own config and validated rows; ``progress`` gets a note if the files
    or the config have changed. A cluster may be gone by then: if training is left, the
    ``EXECUTION_KEYS`` are taken from the current config and written to the experiment's config.

    Raises:
        ExperimentError: there is no such experiment, another process works on it, its first stage
            did not finish, the data changed before it was validated, or the batch size is not
            divisible by the number of workers.
    """
    experiment = find_experiment(config.experiments_dir, wanted)
    lock_experiment(experiment.directory)
    left = _stages_left(experiment)
    if ExperimentRecord.asset in left:
        raise ExperimentError(
            f"{experiment.id}: its first stage did not finish, so there is nothing to resume; "
            "start a new run with `mlrun-assets run`"
        )
    if left:
        _compare_data(experiment, config, DatasetRecord.asset not in left, progress)
        if CheckpointRecord.asset in left:
            _adopt_execution(experiment, config, TrainingPlan.asset not in left, progress)
        if experiment.config(config).settings != config.settings:
            progress(
                f"the config has changed since {experiment.id} was opened; the run continues with "
                f"its own config: {experiment.paths.config}"
            )
    return ResumedRun(experiment, left)


def _stages_left(experiment: Experiment) -> tuple[str, ...]:
    """The stages that are not done or whose record can't be read, and all that they invalidate."""
    undone = set(MADE_FROM) - _done_with_record(experiment)
    undone = undone.union(*(dependants(name) for name in undone))
    return tuple(name for name in MADE_FROM if name in undone)


def _compare_data(
    experiment: Experiment, config: LoadedConfig, validated: bool, progress: ProgressCallback
) -> None:
    then, now = experiment.manifest.inputs, input_digests(experiment.config(config))
    changed = ", ".join(split for split in then if then[split] != now.get(split))
    if not changed:
        return
    if not validated:
        raise ExperimentError(
            f"{experiment.id}: the files of {changed} have changed since it was opened; start a "
            "new run with `mlrun-assets run`"
        )
    progress(
        f"the files of {changed} have changed since {experiment.id} was opened; the run continues "
        "with the rows that it validated"
    )


def _adopt_execution(
    experiment: Experiment, config: LoadedConfig, planned: bool, progress: ProgressCallback
) -> None:
    own = experiment.config(config).settings
    then = {key: getattr(own.training, key) for key in EXECUTION_KEYS}
    now = {key: getattr(config.settings.training, key) for key in EXECUTION_KEYS}
    if then == now:
        return
    batch = experiment.load(TrainingPlan).recipe.batch_size if planned else own.training.batch_size
    workers = config.settings.training.num_workers
    if batch != "auto" and batch % workers:
        raise ExperimentError(
            f"{experiment.id}: batches of {batch} rows can't be shared equally by "
            f"training.num_workers {workers}; set it to a divisor of {batch}, or start a new run "
            "with `mlrun-assets run`"
        )
    training = own.training.model_copy(update=now)
    experiment.freeze(own.model_copy(update={"training": training}))
    changes = ", ".join(
        f"training.{key} is {now[key] or 'unset'} instead of {then[key] or 'unset'}"
        for key in EXECUTION_KEYS
        if then[key] != now[key]
    )
    progress(f"{experiment.id} trains with the settings of the current config: {changes}")
