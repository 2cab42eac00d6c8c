"""One stage of an experiment: its time, its record, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import DataBlockedError, MlrunError, message_of
from mlrun_assets.experiment_store import Experiment
from mlrun_assets.lifecycle.closing import close_experiment, reopen_experiment
from mlrun_assets.lifecycle.holding import hold, release
from mlrun_assets.lifecycle.order import dependants
from mlrun_assets.machine import peak_memory_mb
from mlrun_assets.records import DatasetRecord, Manifest, Record, StageRun, Status
from mlrun_assets.stages.decision import blocked

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
    hold(experiment.directory)
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
            release(experiment.directory)


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
