"""One stage of an experiment: its time, its record, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import DataBlockedError, MlrunError
from mlrun_assets.experiment_store import Experiment
from mlrun_assets.lifecycle.closing import close_experiment
from mlrun_assets.lifecycle.holding import hold
from mlrun_assets.records import DatasetRecord, Record, StageRun, Status
from mlrun_assets.stages.data import QUARANTINE_FILE
from mlrun_assets.stages.experiment import timestamp
from mlrun_assets.stages.training import peak_memory_mb

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class Stage:
    """What the body of an asset works with.

    ``config`` is the experiment's own config, and ``report`` takes a line about the progress.
    """

    experiment: Experiment
    config: LoadedConfig
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

    An error closes the experiment as ``Failed``, Ctrl-C and termination as ``Cancelled``, and a
    dataset that is not ready as ``Blocked``.
    """
    experiment = stage.experiment
    hold(experiment.directory)
    experiment.update(status=Status.RUNNING, closed_at=None, error=None)
    clock = _Clock(experiment, name)
    try:
        yield stage
    except Exception as error:
        clock.stop("failed")
        _close(stage, Status.FAILED, f"{name}: {error}")
        raise
    except BaseException:
        clock.stop("cancelled")
        _close(stage, Status.CANCELLED, f"cancelled in {name}")
        raise
    clock.stop("done")
    if name == DatasetRecord.asset and not experiment.load(DatasetRecord).ready:
        why = blocking_checks(experiment)
        close_experiment(experiment, stage.config, Status.BLOCKED, why)
        raise DataBlockedError(
            f"the data does not meet the standards; mend it, or turn a check off in "
            f"data.quality.skip:\n{why}\nevery row that was put aside, with its reason: "
            f"{experiment.directory / QUARANTINE_FILE}"
        )


def _close(stage: Stage, status: Status, why: str) -> None:
    """Close the experiment after an error; an error on top of it must not hide the first one."""
    try:
        close_experiment(stage.experiment, stage.config, status, why)
    except (MlrunError, OSError) as error:
        stage.report(f"{stage.experiment.id}: {status}, but not written down everywhere: {error}")


def blocking_checks(experiment: Experiment) -> str:
    """What blocks the dataset, a line a check."""
    checks = experiment.load(DatasetRecord).checks
    return "\n".join(f"{check.name}: {check.message}" for check in checks if check.blocks)


class _Clock:
    """Writes to the manifest when a stage started and what it took."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self._experiment, self._name = experiment, name
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._started = timestamp(datetime.now(UTC))
        self._write(StageRun(status="running", started_at=self._started))

    def stop(self, status: str) -> None:
        self._write(
            StageRun(
                status=status,
                started_at=self._started,
                seconds=round(time.perf_counter() - self._wall, 3),
                cpu_seconds=round(time.process_time() - self._cpu, 3),
                peak_memory_mb=round(peak_memory_mb(), 1),
            )
        )

    def _write(self, run: StageRun) -> None:
        stages = {**self._experiment.manifest.stages, self._name: run}
        self._experiment.update(stages=stages)
