"""Two models side by side: versions of production, or experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError
from mlrun_assets.experiment import find_experiment, run_records
from mlrun_assets.production.pointer import read_production, served_before
from mlrun_assets.production.versions import Move, find_version, last_move_to, versions
from mlrun_assets.records import (
    DatasetRecord,
    EvaluationRecord,
    ExportRecord,
    ProductionVersion,
    RunRecords,
    TrainingPlan,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    clean,
    difference,
    integer,
    megabytes,
    number,
    score,
)
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
    header = ("", first.name, second.name)
    rows = [header, *_differences(first, second)]
    widths = [max(len(row[place]) for row in rows) for place in range(2)]
    lines = [
        f"{name.ljust(widths[0])}  {left.ljust(widths[1])}  {right}".rstrip()
        for name, left, right in rows
    ]
    return "\n".join([*lines, "", *_conclusions(first, second)])


def differences_table(first: Side, second: Side) -> str:
    """The same as Markdown."""
    body = table(["", first.name, second.name], _differences(first, second))
    return "\n\n".join([body, *_conclusions(first, second)]) + "\n"


def _differences(first: Side, second: Side) -> list[tuple[str, str, str]]:
    """Each fact that differs, with a dash where one of the two does not have it."""
    left, right = dict(_facts(first)), dict(_facts(second))
    names = dict.fromkeys([*left, *right])
    rows = ((name, left.get(name, NOTHING), right.get(name, NOTHING)) for name in names)
    return [
        (name, clean(one, CELL_WIDTH), clean(other, CELL_WIDTH))
        for name, one, other in rows
        if one != other
    ]


def _conclusions(first: Side, second: Side) -> list[str]:
    left, right = dict(_facts(first)), dict(_facts(second))
    same = [name for name, value in left.items() if right.get(name) == value]
    gone = [side.name for side in (first, second) if side.run is None]
    said = [f"the same in both: {', '.join(same) or 'nothing'}"]
    said += [f"the experiment of {name} is gone: only what production keeps of it" for name in gone]
    return said + _comparability(first, second)


def _comparability(first: Side, second: Side) -> list[str]:
    """Whether the scores are of the same rows, and the paired difference where one was recorded."""
    left, right = (side.run.evaluation if side.run else None for side in (first, second))
    if left is None or right is None:
        return []
    if left.test_digest != right.test_digest:
        return ["the scores are of different test splits: they can't be compared"]
    said = f"the scores are of the same {integer(left.test.rows)} test rows"
    paired = right.production
    if first.version and paired and paired.against == first.version.version:
        gain = difference(paired.f1_difference)
        said += f"; {second.name} less {first.name}, row by row: {right.f1_kind}-F1 {gain}"
    return [said]


def _facts(side: Side) -> Facts:
    yield from _origin(side)
    run = side.run
    if run is None:
        yield from _kept_by_production(side.version)
        return
    if run.evaluation:
        yield from _scores(run.evaluation)
    if run.dataset:
        yield from _data(run.dataset)
    if run.plan:
        yield from _recipe(run.plan)
    if run.checkpoint:
        yield "parameters", integer(run.checkpoint.parameters)
    if run.export:
        yield from _sizes(run.export)


def _origin(side: Side) -> Facts:
    if side.run:
        yield "experiment", side.run.manifest.id
        yield "run", side.run.manifest.name
    elif side.version:
        yield "experiment", side.version.experiment
    if side.move:
        yield "serves since", side.move.when
        yield "by", side.move.by
        yield "why", f"{side.move.why}{' (forced)' if side.move.forced else ''}"
    if side.run and side.run.decision:
        yield "verdict", str(side.run.decision.verdict)


def _kept_by_production(version: ProductionVersion | None) -> Facts:
    if version:
        yield "accuracy", score(version.accuracy)
        yield "labels", ", ".join(version.labels)
        yield "max_length", integer(version.max_length)


def _scores(evaluation: EvaluationRecord) -> Facts:
    test = evaluation.test
    yield "accuracy", score(test.accuracy)
    yield "macro-F1", score(test.f1_macro)
    yield "weighted-F1", score(test.f1_weighted)
    yield "calibration error", score(evaluation.calibration.error)
    yield "test split", f"{integer(test.rows)} rows, {_short(evaluation.test_digest)}"


def _data(dataset: DatasetRecord) -> Facts:
    yield "labels", ", ".join(dataset.labels)
    yield "data", f"{dataset.name}, {_short(dataset.digest)}"
    for name, split in dataset.splits.items():
        yield f"{name} rows", integer(split.rows_kept)


def _recipe(plan: TrainingPlan) -> Facts:
    for name, value in plan.recipe.model_dump(mode="json", exclude={"seed"}).items():
        yield name, _setting(value)
    yield "seeds", ", ".join(str(recipe.seed) for recipe in plan.recipes)


def _sizes(export: ExportRecord) -> Facts:
    yield "exported files", f"{megabytes(export.size_bytes)}, {_short(export.digest)}"
    yield "latency p95", f"{number(export.latency_ms_p95)} ms"
    form = export.kept_onnx
    if form:
        latency = number(form.latency_ms_p95)
        yield f"ONNX {form.precision}", f"{megabytes(form.size_bytes)}, p95 {latency} ms"


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
        first, second = names
        return _side(config, first), _side(config, second)
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
    if version:
        move = last_move_to(config.production_dir, name)
        return Side(name, version, move, _run_of(config, version))
    try:
        experiment = find_experiment(config.experiments_dir, name, ())
    except ExperimentError as error:
        known = ", ".join(each.version for each in versions(config.production_dir)) or "none"
        raise ExperimentError(f"{error}; versions of production: {known}") from None
    return Side(experiment.id, None, None, run_records(experiment.manifest, experiment))


def _run_of(config: LoadedConfig, version: ProductionVersion) -> RunRecords | None:
    """What the experiment of a version recorded; None: it is no longer there."""
    try:
        experiment = find_experiment(config.experiments_dir, version.experiment, ())
    except ExperimentError:
        return None
    return run_records(experiment.manifest, experiment)
