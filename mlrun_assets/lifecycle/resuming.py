"""An experiment taken up again: what stands in it, and what is left to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment_store import FROZEN_CONFIG, Experiment, find_experiment
from mlrun_assets.lifecycle.closing import is_done
from mlrun_assets.lifecycle.holding import hold
from mlrun_assets.lifecycle.opening import input_digests
from mlrun_assets.lifecycle.order import MADE_FROM, dependants
from mlrun_assets.records import DatasetRecord, ExperimentRecord, Record


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
    the files say something else by now.

    Raises:
        ExperimentError: there is no such experiment, another process works on it, it was killed
            while it was being opened, or the data changed before it was validated.
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
        if experiment.config(config).config != config.config:
            report(
                f"the config has changed since {experiment.id} was opened, which goes on with its "
                f"own: {experiment.directory / FROZEN_CONFIG}"
            )
    return TakenUp(experiment, left)


def _stages_left(experiment: Experiment) -> tuple[str, ...]:
    undone = {name for name in MADE_FROM if not _stands(experiment, name)}
    undone = undone.union(*(dependants(name) for name in undone))
    return tuple(name for name in MADE_FROM if name in undone)


def _stands(experiment: Experiment, name: str) -> bool:
    """Whether the stage came to its end and what it recorded can be read."""
    kinds = {kind.asset: kind for kind in Record.__subclasses__() if "asset" in vars(kind)}
    return is_done(experiment.manifest.stages.get(name)) and bool(experiment.find(kinds[name]))


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
