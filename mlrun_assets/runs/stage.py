"""One stage of an experiment: its time, its record, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from mlrun_assets.config import LoadedConfig
from mlrun_assets.decision.verdict import blocked
from mlrun_assets.errors import DataBlockedError, ExperimentError, MlrunError, message_of
from mlrun_assets.experiment import Experiment, find_experiment, lock_experiment, unlock_experiment
from mlrun_assets.machine import peak_memory_mb
from mlrun_assets.records import (
    CheckpointRecord,
    DatasetRecord,
    ExperimentRecord,
    Manifest,
    Record,
    StageRun,
    Status,
    TrainingPlan,
)
from mlrun_assets.runs import MADE_FROM, STAGE_RECORDS, dependants
from mlrun_assets.runs.closing import close_experiment, is_done, reopen_experiment
from mlrun_assets.runs.opening import input_digests

AnyRecord = TypeVar("AnyRecord", bound=Record)
ENDED_BADLY = (Status.FAILED, Status.CANCELLED, Status.BLOCKED)


@dataclass(frozen=True)
class Stage:
    """What the body of an asset works with.

    ``config`` is the experiment's own config, ``run_id`` the run that the asset is part of, and
    ``report`` takes a line about the progress.
    """

    experiment: Experiment
    config: LoadedConfig
    run_id: str
    report: Callable[[str], None]

    @property
    def directory(self) -> Path:
        return self.experiment.directory

    def load(self, kind: type[AnyRecord]) -> AnyRecord:
        """The record of an earlier stage of this experiment."""
        return self.experiment.load(kind)

    def save(self, record: AnyRecord) -> AnyRecord:
        """Keep the record of this stage."""
        self.experiment.save(record)
        return record


@contextmanager
def run_stage(stage: Stage, name: str) -> Iterator[Stage]:
    """Run the body of the asset ``name``; whatever way it ends, the experiment says how.

    What was recorded by the assets that are made from this one is removed first: it would be about
    something that is no more. An error closes the experiment as ``Failed``, Ctrl-C and termination
    as ``Cancelled``. A run that has ended badly stays so: Dagster goes on with the assets that do
    not depend on the one that failed, and their success does not undo that.

    Raises:
        ExperimentError: another process works on the experiment.
    """
    experiment = stage.experiment
    lock_experiment(experiment.directory)
    manifest = experiment.manifest
    if manifest.status is not Status.RUNNING and not _has_ended_badly(manifest, stage.run_id):
        reopen_experiment(experiment, stage.config)
    experiment.forget(dependants(name))
    clock = _Clock(experiment, name)
    try:
        yield stage
    except Exception as error:
        close_after_error(stage, Status.FAILED, f"{name}: {message_of(error)}", clock)
        raise
    except BaseException:
        close_after_error(stage, Status.CANCELLED, f"cancelled in {name}", clock)
        raise
    else:
        clock.stop("done")
    finally:
        if experiment.manifest.status is not Status.RUNNING:
            unlock_experiment(experiment.directory)


def require_ready(stage: Stage) -> None:
    """Close the experiment as ``Blocked``, with that verdict, where its dataset is not ready.

    Raises:
        DataBlockedError: it does not; the message has a line for each check that blocks.
    """
    checks = stage.load(DatasetRecord).checks
    why = "\n".join(f"{check.name}: {check.message}" for check in checks if check.blocks)
    if why:
        stage.save(blocked(why))
        close_after_error(stage, Status.BLOCKED, why)
        raise DataBlockedError(
            "the data does not meet the standards; mend it, or name a check in data.quality.skip:"
            f"\n{why}\nevery row that was put aside, with its reason: "
            f"{stage.experiment.paths.quarantine}"
        )


def _has_ended_badly(manifest: Manifest, run_id: str) -> bool:
    return manifest.status in ENDED_BADLY and manifest.closed_by == run_id


def close_after_error(stage: Stage, status: Status, why: str, clock: _Clock | None = None) -> None:
    """Close the experiment after an error; an error on top of it must not hide the first one.

    The ``clock`` is that of the stage that the error stopped; None: no stage was under way.
    """
    try:
        if clock:
            clock.stop(status.lower())
        if not _has_ended_badly(stage.experiment.manifest, stage.run_id):
            close_experiment(stage.experiment, stage.config, status, error=why, run_id=stage.run_id)
    except (MlrunError, OSError) as error:
        stage.report(
            f"{stage.experiment.id}: {status}, but not written down everywhere: {message_of(error)}"
        )


class _Clock:
    """Writes to the manifest that a stage runs and what it took."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._experiment, self._name = experiment, name
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._write(StageRun(status="running"))

    def stop(self, status: str) -> None:
        self._write(
            StageRun(
                status=status,
                seconds=round(time.perf_counter() - self._wall, 3),
                cpu_seconds=round(time.process_time() - self._cpu, 3),
                peak_memory_mb=round(peak_memory_mb(), 1),
            )
        )

    def _write(self, run: StageRun) -> None:
        stages = {**self._experiment.manifest.stages, self._name: run}
        self._experiment.update(stages=stages)


# What trains, which is no part of what is trained.
EXECUTION_KEYS = ("backend", "num_workers", "ray_address")


class ResumedRun(NamedTuple):
    """An experiment that this process holds, and the stages that are left, in order.

    They are those without a record of their end, and all that is made from them; none: the
    experiment is complete.
    """

    experiment: Experiment
    stages: tuple[str, ...]


def resume_experiment(
    config: LoadedConfig, wanted: str, report: Callable[[str], None]
) -> ResumedRun:
    """Hold an experiment (its id or name) that was stopped, and find what is left of it.

    It goes on with its own config and with the rows that it has validated; ``report`` is told where
    the files say something else by now. What is to train may be gone by then: if training is left,
    the ``EXECUTION_KEYS`` are those of the current config, and its own is rewritten.

    Raises:
        ExperimentError: there is no such experiment, another process works on it, it was killed
            while it was being opened, the data changed before it was validated, or the workers
            can't share its batches.
    """
    experiment = find_experiment(config.experiments_dir, wanted, ())
    lock_experiment(experiment.directory)
    left = _stages_left(experiment)
    if ExperimentRecord.asset in left:
        raise ExperimentError(
            f"{experiment.id}: did not come further than being opened, so there is nothing to go "
            "on with; start a new run with `mlrun-assets run`"
        )
    if left:
        _compare_data(experiment, config, DatasetRecord.asset not in left, report)
        if CheckpointRecord.asset in left:
            _adopt_execution(experiment, config, TrainingPlan.asset not in left, report)
        if experiment.config(config).settings != config.settings:
            report(
                f"the config has changed since {experiment.id} was opened, which goes on with its "
                f"own: {experiment.paths.config}"
            )
    return ResumedRun(experiment, left)


def _stages_left(experiment: Experiment) -> tuple[str, ...]:
    undone = {name for name in MADE_FROM if not _stands(experiment, name)}
    undone = undone.union(*(dependants(name) for name in undone))
    return tuple(name for name in MADE_FROM if name in undone)


def _stands(experiment: Experiment, name: str) -> bool:
    """Whether the stage has finished and its record can be read."""
    record = experiment.find(STAGE_RECORDS[name])
    return is_done(experiment.manifest.stages.get(name)) and record is not None


def _compare_data(
    experiment: Experiment, config: LoadedConfig, validated: bool, report: Callable[[str], None]
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
    report(
        f"the files of {changed} have changed since {experiment.id} was opened, which goes on with "
        "the rows that it validated"
    )


def _adopt_execution(
    experiment: Experiment, config: LoadedConfig, planned: bool, report: Callable[[str], None]
) -> None:
    own = experiment.config(config).settings
    then, now = (
        {key: getattr(training, key) for key in EXECUTION_KEYS}
        for training in (own.training, config.settings.training)
    )
    if then == now:
        return
    batch = experiment.load(TrainingPlan).recipe.batch_size if planned else own.training.batch_size
    workers = config.settings.training.num_workers
    if batch != "auto" and batch % workers:
        raise ExperimentError(
            f"{experiment.id}: trains with batches of {batch} rows, of which training.num_workers "
            f"{workers} can't have equal parts: set it to a divisor of {batch}, or start a new run "
            "with `mlrun-assets run`"
        )
    training = own.training.model_copy(update=now)
    experiment.freeze(own.model_copy(update={"training": training}))
    changes = ", ".join(
        f"training.{key} is {_shown(now[key])} instead of {_shown(then[key])}"
        for key in EXECUTION_KEYS
        if then[key] != now[key]
    )
    report(f"{experiment.id} trains as the config says now: {changes}")


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)
