"""Models side by side: versions of production, or experiments; paired tests on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl

from mlrun_assets.config import EvaluationConfig, LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError, count
from mlrun_assets.experiment import Experiment, ExperimentPaths, find_experiment, run_records
from mlrun_assets.markdown import clean
from mlrun_assets.production.pointer import read_production
from mlrun_assets.production.versions import Move, find_model, last_move_to, load_version
from mlrun_assets.records import ExportRecord, ProductionVersion, RunRecords, Score
from mlrun_assets.reports.formatting import NOTHING, difference, integer, megabytes, number, score
from mlrun_assets.reports.tables import table

Facts = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Side:
    """One model: a version of production, or an experiment.

    ``move`` is the last move that deployed the version, ``run`` the records of its experiment and
    ``directory`` where that is; None if missing.
    """

    id: str
    version: ProductionVersion | None
    move: Move | None
    run: RunRecords | None
    directory: Path | None

    @property
    def name(self) -> str:
        if self.run:
            return self.run.manifest.original_name or self.run.manifest.name
        return self.version.name if self.version else self.id


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same test rows: ``second`` minus ``first``, with McNemar's exact test."""

    first: str
    second: str
    rows: int
    f1_kind: str
    f1_difference: Score
    accuracy_difference: float
    only_first_right: int
    only_second_right: int
    mcnemar_p: float

    @property
    def sentence(self) -> str:
        """The difference and what it shows."""
        low, high = self.f1_difference.low, self.f1_difference.high
        better = self.second if low > 0 else self.first if high < 0 else None
        shown = f"{better} is better" if better else "no difference is shown"
        return (
            f"{self.second} minus {self.first} on the same {count(self.rows, 'test row')}: "
            f"{self.f1_kind}-F1 {difference(self.f1_difference)}, accuracy "
            f"{difference(self.accuracy_difference)}; only {self.first} is right on "
            f"{self.only_first_right:,}, only {self.second} on {self.only_second_right:,} "
            f"(McNemar p {self.mcnemar_p:.3f}): {shown}"
        )


@dataclass(frozen=True)
class ModelComparison:
    """Models side by side: ``facts`` has a value per model, with a dash where one has none."""

    models: tuple[str, ...]
    facts: dict[str, tuple[str, ...]]
    pairs: tuple[PairedTest, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The facts that differ."""
        rows = [(name, *values) for name, values in self.facts.items() if len(set(values)) > 1]
        return [tuple(clean(cell) for cell in row) for row in rows]

    @property
    def conclusions(self) -> list[str]:
        """What is the same, and what the scores show."""
        others = len(self.facts) - len(self.rows)
        same = f"{count(others, 'other fact')} {'is' if others == 1 else 'are'}"
        return [f"{same} the same", *self.notes, *(pair.sentence for pair in self.pairs)]

    def as_json(self) -> dict[str, Any]:
        """All facts by model, and the paired tests."""
        pairs = [asdict(each) | {"f1_difference": dict(each.f1_difference)} for each in self.pairs]
        of_model = zip(*self.facts.values(), strict=True)
        models = [
            {"name": name, "facts": dict(zip(self.facts, values, strict=True))}
            for name, values in zip(self.models, of_model, strict=True)
        ]
        differing = [row[0] for row in self.rows]
        return {"models": models, "differ": differing, "pairs": pairs, "notes": list(self.notes)}


def side_by_side(config: LoadedConfig, names: Sequence[str]) -> ModelComparison:
    """Compare models; change nothing.

    Args:
        config: the config that says where production and the experiments are.
        names: versions or experiments; one: it is compared with production; none: production is
            compared with the version that it replaced.

    Raises:
        ExperimentError: there is neither a version nor an experiment of a name, or a model would be
            compared with itself.
        ProductionError: production is to be compared, and there is nothing to compare.
    """
    sides = _sides(config, names)
    heads = [side.name for side in sides]
    # Experiments may have the same name.
    heads = [each.id if heads.count(each.name) > 1 else each.name for each in sides]
    if twice := [head for head in heads if heads.count(head) > 1]:
        raise ExperimentError(f"{twice[0]} is compared with itself; name another model")
    known = [dict(_facts(side)) for side in sides]
    every = dict.fromkeys(name for facts in known for name in facts)
    first, *others = zip(heads, sides, strict=True)
    pairs, notes = [], _missing(heads, sides)
    for other in others:
        result = _paired(first, other, config.settings.evaluation)
        if isinstance(result, PairedTest):
            pairs.append(result)
        else:
            notes.append(result)
    return ModelComparison(
        models=tuple(heads),
        facts={name: tuple(facts.get(name, NOTHING) for facts in known) for name in every},
        pairs=tuple(pairs),
        notes=tuple(notes),
    )


def list_differences(found: ModelComparison) -> str:
    """What differs, in columns; then the conclusions."""
    rows = [("", *found.models), *found.rows]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join([*lines, "", *found.conclusions])


def differences_table(found: ModelComparison) -> str:
    """The same as Markdown."""
    return "\n\n".join([table(["", *found.models], found.rows), *found.conclusions]) + "\n"


# The models that are meant


def _sides(config: LoadedConfig, names: Sequence[str]) -> list[Side]:
    """The models, the older or the one to compare with first."""
    if len(names) > 1:
        return [_side(config, name) for name in names]
    serving = read_production(config.production_dir)
    if serving is None:
        raise ProductionError(
            f"{config.production_dir}: nothing is in production; name two experiments, as in "
            "`mlrun-assets compare A B`"
        )
    if names:
        return [_side(config, serving.version), _side(config, names[0])]
    move = last_move_to(config.production_dir, serving.version)
    if move is None or move.before is None:
        raise ProductionError(
            f"{config.production_dir}: {serving.version} is the first version; name what to "
            "compare it with, as in `mlrun-assets compare EXPERIMENT`; `mlrun-assets runs` lists "
            "the experiments"
        )
    return [_side(config, move.before), _side(config, serving.version)]


def _side(config: LoadedConfig, name: str) -> Side:
    found = find_model(config, name)
    if isinstance(found, Experiment):
        run = run_records(found.manifest, found)
        return Side(found.id, None, None, run, found.directory)
    version = load_version(config.production_dir, found.version)
    move = last_move_to(config.production_dir, version.version)
    try:
        experiment = find_experiment(config.experiments_dir, version.experiment)
    except ExperimentError:
        return Side(version.version, version, move, None, None)
    run = run_records(experiment.manifest, experiment)
    return Side(version.version, version, move, run, experiment.directory)


# What is compared


def _missing(heads: list[str], sides: list[Side]) -> list[str]:
    gone = [head for head, side in zip(heads, sides, strict=True) if side.run is None]
    return [f"the experiment of {name} is gone: only what production keeps of it" for name in gone]


def _paired(
    first: tuple[str, Side], second: tuple[str, Side], evaluation: EvaluationConfig
) -> PairedTest | str:
    """The paired test of the second model against the first, or why there is none."""
    names = f"{second[0]} and {first[0]}"
    runs = [side.run for _, side in (first, second)]
    scored = [run.evaluation if run else None for run in runs]
    if None in scored:
        return f"{names}: not compared row by row, because one has no test scores"
    exports = [run.export.digest for run in runs if run and run.export]
    if len(exports) == 2 and exports[0] == exports[1]:
        return f"{names}: the same model, byte for byte"
    if len({each.test_digest for each in scored if each}) > 1:
        return f"{names}: the scores are of different test splits and can't be compared"
    try:
        left, right = (_predictions(side) for _, side in (first, second))
    except (OSError, pl.exceptions.PolarsError):
        return f"{names}: not compared row by row, because the predictions of one can't be read"
    rows = left.join(right, on=["id", "label"], suffix="_second")
    if rows.is_empty():
        return f"{names}: not compared row by row, because they have no test row in common"
    return _test(rows, (first[0], second[0]), evaluation)


def _predictions(side: Side) -> pl.DataFrame:
    if side.directory is None:
        raise FileNotFoundError
    file = ExperimentPaths(side.directory).predictions
    return pl.read_parquet(file, glob=False).select("id", "label", "prediction")


def _test(rows: pl.DataFrame, names: tuple[str, str], evaluation: EvaluationConfig) -> PairedTest:
    from mlrun_assets.metrics import label_numbers
    from mlrun_assets.statistics import mcnemar_exact, paired_f1_difference

    columns = ("label", "prediction", "prediction_second")
    labels = tuple(pl.concat([rows[column] for column in columns]).unique().sort())
    truth, first, second = (label_numbers(rows[column], labels) for column in columns)
    only_first = int(((first == truth) & (second != truth)).sum())
    only_second = int(((second == truth) & (first != truth)).sum())
    bootstrap = (evaluation.resamples, evaluation.confidence, 0)
    return PairedTest(
        first=names[0],
        second=names[1],
        rows=rows.height,
        f1_kind=evaluation.f1,
        f1_difference=paired_f1_difference(truth, (second, first), evaluation.f1, bootstrap),
        accuracy_difference=(only_second - only_first) / rows.height,
        only_first_right=only_first,
        only_second_right=only_second,
        mcnemar_p=mcnemar_exact(only_first, only_second),
    )


def _facts(side: Side) -> Facts:
    if side.run:
        yield "experiment", side.run.manifest.id
        yield "run", side.run.manifest.name
    elif side.version:
        yield "experiment", side.version.experiment
    if side.move:
        yield "deployed", side.move.when
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
