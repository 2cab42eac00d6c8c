"""An experiment taken up again: what stands in it, and what is left to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment_store import Experiment, find_experiment
from mlrun_assets.lifecycle.closing import is_done
from mlrun_assets.lifecycle.holding import hold
from mlrun_assets.lifecycle.opening import input_digests
from mlrun_assets.lifecycle.order import MADE_FROM, STAGE_RECORDS, dependants
from mlrun_assets.records import CheckpointRecord, DatasetRecord, ExperimentRecord, TrainingPlan

# What trains, which is no part of what is trained.
EXECUTION_KEYS = ("backend", "num_workers", "ray_address")


class TakenUp(NamedTuple):
    """An experiment that this process holds, and the stages that are left, in order.

    They are those without a record of their end, and all that is made from them; none: the
    experiment is complete.
    """

    experiment: Experiment
    stages: tuple[str, ...]


def take_up(config: LoadedConfig, wanted: str, report: Callable[[str], None]) -> TakenUp:
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
    hold(experiment.directory)
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
    return TakenUp(experiment, left)


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
