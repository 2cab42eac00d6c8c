"""Two models side by side: versions of production, or experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError
from mlrun_assets.experiment import find_experiment, run_records
from mlrun_assets.markdown import clean
from mlrun_assets.production.pointer import read_production, served_before
from mlrun_assets.production.versions import Move, find_version, last_move_to, versions
from mlrun_assets.records import ExportRecord, ProductionVersion, RunRecords
from mlrun_assets.reports.formatting import NOTHING, difference, integer, megabytes, number, score
from mlrun_assets.reports.tables import table

CELL_WIDTH = 60

Facts = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Side:
    """One of two models: a version of production, or an experiment.

    ``move`` is the last move that deployed the version, ``run`` the records of its experiment; None
    if missing.
    """

    name: str
    version: ProductionVersion | None
    move: Move | None
    run: RunRecords | None


def list_differences(first: Side, second: Side) -> str:
    """What differs, in columns; then what is the same, and whether scores can be compared."""
    rows, conclusions = _compared(first, second)
    rows = [("", first.name, second.name), *rows]
    names, cells = (max(len(row[place]) for row in rows) for place in range(2))
    lines = [f"{row[0].ljust(names)}  {row[1].ljust(cells)}  {row[2]}".rstrip() for row in rows]
    return "\n".join([*lines, "", *conclusions])


def differences_table(first: Side, second: Side) -> str:
    """The same as Markdown."""
    rows, conclusions = _compared(first, second)
    return "\n\n".join([table(["", first.name, second.name], rows), *conclusions]) + "\n"


def _compared(first: Side, second: Side) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The facts that differ, with a dash where a side does not have one; and the conclusions."""
    left, right = dict(_facts(first)), dict(_facts(second))
    both = {
        name: (left.get(name, NOTHING), right.get(name, NOTHING))
        for name in dict.fromkeys([*left, *right])
    }
    rows = [
        (name, clean(one, CELL_WIDTH), clean(other, CELL_WIDTH))
        for name, (one, other) in both.items()
        if one != other
    ]
    same = [name for name, value in left.items() if right.get(name) == value]
    gone = [side.name for side in (first, second) if side.run is None]
    return rows, [
        f"the same in both: {', '.join(same) or 'nothing'}",
        *(f"the experiment of {name} is gone: only what production keeps of it" for name in gone),
        *_comparability(first, second),
    ]


def _comparability(first: Side, second: Side) -> Iterator[str]:
    """Whether the scores are of the same rows, and the paired difference where one was recorded."""
    left, right = (side.run.evaluation if side.run else None for side in (first, second))
    if left is None or right is None:
        return
    if left.test_digest != right.test_digest:
        yield "the scores are of different test splits: they can't be compared"
        return
    said = f"the scores are of the same {integer(left.test.rows)} test rows"
    paired = right.production
    if first.version and paired and paired.against == first.version.version:
        gain = difference(paired.f1_difference)
        said += f"; {second.name} less {first.name}, row by row: {right.f1_kind}-F1 {gain}"
    yield said


def _facts(side: Side) -> Facts:
    if side.run:
        yield "experiment", side.run.manifest.id
        yield "run", side.run.manifest.name
    elif side.version:
        yield "experiment", side.version.experiment
    if side.move:
        yield "serves since", side.move.when
        yield "by", side.move.by
        yield "why", f"{side.move.why}{' (forced)' if side.move.forced else ''}"
    if side.run:
        yield from _recorded(side.run)
    elif side.version:
        yield "accuracy", score(side.version.accuracy)
        yield "labels", ", ".join(side.version.labels)
        yield "max_length", integer(side.version.max_length)


def _recorded(run: RunRecords) -> Facts:
    """The facts of the run's decision, scores, data, recipe and model."""
    if run.decision:
        yield "verdict", str(run.decision.verdict)
    if run.evaluation:
        test = run.evaluation.test
        yield "accuracy", score(test.accuracy)
        yield "macro-F1", score(test.f1_macro)
        yield "weighted-F1", score(test.f1_weighted)
        yield "calibration error", score(run.evaluation.calibration.error)
        yield "test split", f"{integer(test.rows)} rows, {_short(run.evaluation.test_digest)}"
    if run.dataset:
        yield "labels", ", ".join(run.dataset.labels)
        yield "data", f"{run.dataset.name}, {_short(run.dataset.digest)}"
        for name, split in run.dataset.splits.items():
            yield f"{name} rows", integer(split.rows_kept)
    if run.plan:
        for name, value in run.plan.recipe.model_dump(mode="json", exclude={"seed"}).items():
            yield name, _setting(value)
        yield "seeds", ", ".join(str(recipe.seed) for recipe in run.plan.recipes)
    if run.checkpoint:
        yield "model", run.checkpoint.chosen
        yield "parameters", integer(run.checkpoint.parameters)
    if run.export:
        yield from _sizes(run.export)


def _sizes(export: ExportRecord) -> Facts:
    yield "exported files", f"{megabytes(export.size_bytes)}, {_short(export.digest)}"
    yield "latency p95", f"{number(export.latency_ms_p95)} ms"
    if form := export.onnx:
        yield "ONNX", f"{megabytes(form.size_bytes)}, p95 {number(form.latency_ms_p95)} ms"


def _setting(value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(_setting(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def two_sides(config: LoadedConfig, names: tuple[str, ...]) -> tuple[Side, Side]:
    """The two models that are meant, the older or the one to compare with first.

    Args:
        config: the config that says where production and the experiments are.
        names: two versions or experiments; one: it is compared with production; none: production
            is compared with the version that served before.

    Raises:
        ExperimentError: there is neither a version nor an experiment of a name.
        ProductionError: production is to be compared, and there is nothing to compare.
    """
    if len(names) == 2:
        return _side(config, names[0]), _side(config, names[1])
    serving = read_production(config.production_dir)
    if serving is None:
        raise ProductionError(
            f"{config.production_dir}: nothing is in production; name two experiments, as in "
            "`mlrun-assets diff A B`"
        )
    if names:
        return _side(config, serving.version), _side(config, names[0])
    before = served_before(config.production_dir, serving.version)
    if before is None:
        raise ProductionError(
            f"{config.production_dir}: nothing was deployed before {serving.version}; name what to "
            "compare it with, as in `mlrun-assets diff EXPERIMENT`"
        )
    return _side(config, before), _side(config, serving.version)


def _side(config: LoadedConfig, name: str) -> Side:
    version = find_version(config.production_dir, name)
    move = last_move_to(config.production_dir, name) if version else None
    sought = version.experiment if version else name
    try:
        experiment = find_experiment(config.experiments_dir, sought)
    except ExperimentError as error:
        if version:
            return Side(name, version, move, None)
        known = ", ".join(each.version for each in versions(config.production_dir)) or "none"
        raise ExperimentError(f"{error}; versions of production: {known}") from None
    run = run_records(experiment.manifest, experiment)
    return Side(name if version else experiment.id, version, move, run)
