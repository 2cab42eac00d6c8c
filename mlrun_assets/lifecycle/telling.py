"""What is told of a move of production, once it is made."""

from __future__ import annotations

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import MlrunError, ProductionError, UntoldMoveError, cause_of
from mlrun_assets.experiment_store import Experiment, all_experiments
from mlrun_assets.lifecycle.closing import refresh_registry_and_report
from mlrun_assets.lifecycle.holding import is_held
from mlrun_assets.records import DecisionRecord, ProductionRecord, ProductionVersion
from mlrun_assets.stages.production import find_version, last_move_to


def tell_of_production(config: LoadedConfig, record: ProductionRecord) -> None:
    """Let the experiment of what serves, and of what that replaced, say so: record, line, report.

    An experiment that is gone tells nothing. One that a process works on gets its record; its line
    and its report are written when it ends.

    Raises:
        UntoldMoveError: something can't be written; what serves, serves.
    """
    if record.after is None:
        return
    serving = record.after.version
    try:
        for experiment in _concerned(config, record.after):
            _tell(experiment, config, record)
    except (MlrunError, OSError) as error:
        raise UntoldMoveError(
            f"{serving} serves now, and {config.production_dir} holds all of the move; but a "
            f"registry line or report that tells of it can't be written ({cause_of(error)}): make "
            f"room, or make it writable, then `mlrun-assets rollback --to {serving} --reason WHY` "
            "writes them and moves nothing"
        ) from error


def _tell(experiment: Experiment, config: LoadedConfig, record: ProductionRecord) -> None:
    told = experiment.find(ProductionRecord)
    # A move that is told a second time is no news: what the first said is better.
    if record.moved or told is None or told.after != record.after:
        experiment.save(record)
    if not is_held(experiment.directory):
        refresh_registry_and_report(experiment, config)


def _concerned(config: LoadedConfig, serving: ProductionVersion) -> list[Experiment]:
    """The experiments that are still there, and judged: one that is not is being made anew."""
    replaced = _replaced(config, serving)
    ids = dict.fromkeys(version.experiment for version in (serving, replaced) if version)
    there = {each.id: each for each in all_experiments(config.experiments_dir)}
    found = (there[each] for each in ids if each in there)
    return [experiment for experiment in found if experiment.find(DecisionRecord)]


def _replaced(config: LoadedConfig, serving: ProductionVersion) -> ProductionVersion | None:
    """What served before the last move; None: nothing did, or it can't be read any more."""
    move = last_move_to(config.production_dir, serving.version)
    if move is None or move.before is None:
        return None
    try:
        return find_version(config.production_dir, move.before)
    except ProductionError:  # a harmed version is what people move away from
        return None
