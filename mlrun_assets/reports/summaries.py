"""One bold sentence and one table per stage, for the Dagster UI; one fact for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlrun_assets.errors import count
from mlrun_assets.markdown import Markdown, code, escape, plain, prose
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    PredictionsRecord,
    ProductionRecord,
    Record,
    RegistryRecord,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reports.data_section import (
    checks_table,
    choices_table,
    splits_table,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    digest,
    integer,
    megabytes,
    number,
    percent,
    score,
    seconds,
    spread,
)
from mlrun_assets.reports.scores import cheap_models_table, f1_name, rules_table, scores_rows_table
from mlrun_assets.reports.tables import (
    candidates_table,
    debt_table,
    forms_table,
    last_runs,
    runs_table,
    table,
)


def summarise_experiment(record: ExperimentRecord) -> str:
    """The name, and the last runs in the registry."""
    return _summary(
        f"{escape(record.name)}: {count(record.known_runs, 'prior run')}, "
        f"{count(record.open_debt_items, 'open tech-debt item')}",
        runs_table(last_runs(record)) if record.prior_runs else Markdown("No earlier runs yet."),
    )


def summarise_dataset(record: DatasetRecord) -> str:
    """The splits, or the failed checks if the data is not ready."""
    failed = record.failed_checks
    blocking = sum(check.blocks for check in failed)
    quarantined = sum(split.rows_quarantined for split in record.splits.values())
    changes = sum(record.normalised.values())
    others = record.unlabelled
    unlabelled = f"; {count(others.rows_kept, 'unlabelled text')}" if others else ""
    if helpers := record.auxiliary:
        unlabelled = f"; {count(helpers.rows_kept, 'helper row')}{unlabelled}"
    return _summary(
        f"{'Ready' if record.ready else 'Not ready'}: {count(record.rows, 'row')}, "
        f"{integer(quarantined)} quarantined; {count(blocking, 'blocking check')}, "
        f"{count(len(failed) - blocking, 'warning')}; {count(changes, 'change')} to texts"
        f"{unlabelled}",
        splits_table(record) if record.ready else checks_table(failed),
    )


def summarise_plan(record: TrainingPlan) -> str:
    """The main settings, and the reasons for all."""
    recipe = record.recipe
    tuning = "no fine-tuning"
    if recipe.needs("encoder"):
        tuning = (
            f"{count(recipe.epochs, 'epoch')}, learning rate {number(recipe.learning_rate)}, "
            f"batch size {integer(recipe.batch_size)}, {count(len(record.recipes), 'seed')}"
        )
    return _summary(
        f"{escape(recipe.encoder)}: candidates {escape(', '.join(recipe.candidates))}; {tuning}",
        choices_table(record.choices),
    )


def summarise_baseline(record: BaselineRecord) -> str:
    """The test score of the n-gram baseline, and the cross-validation of the cheap models."""
    return _summary(
        f"Test macro-F1 {score(record.linear.f1_macro)} with n-grams ({escape(record.chosen)}), "
        f"{score(record.majority.f1_macro.value)} with the majority class",
        cheap_models_table(record),
    )


def summarise_checkpoint(record: CheckpointRecord, baseline: BaselineRecord | None = None) -> str:
    """The score of the chosen candidate, and all candidates."""
    reused = f", reused from {escape(record.reused_from)}" if record.reused_from else ""
    winner, tried = record.winner, count(len(record.candidates), "candidate")
    return _summary(
        f"Macro-F1 {score(winner.f1_macro)} on {count(winner.rows, 'row')} not trained on: "
        f"{code(winner.name)}, chosen from {tried}{reused}",
        candidates_table(record, baseline),
    )


def summarise_evaluation(record: EvaluationRecord) -> str:
    """The F1 and accuracy on test, and all scores on test and val."""
    over = record.f1_over_seeds
    seeds = f" ({spread(over)} over {count(len(record.seeds), 'seed')})" if over else ""
    return _summary(
        f"Test {f1_name(record)} {score(record.f1)}{seeds}, accuracy "
        f"{score(record.test.accuracy)} on {count(record.test.rows, 'row')}",
        scores_rows_table({"test": record.test, "val": record.val}),
    )


def summarise_export(record: ExportRecord) -> str:
    """Agreement with the checkpoint, and size and speed of each form."""
    left_out = f" {prose(record.onnx_reason)}" if record.onnx_reason else ""
    return _summary(
        f"Agrees with the checkpoint on {percent(record.agreement)} of "
        f"{count(record.rows_compared, 'row')}; digest {digest(record.digest)}.{left_out}",
        forms_table(record),
    )


def summarise_decision(record: DecisionRecord) -> str:
    """The verdict, and the outcome of each rule."""
    return _summary(f"{record.verdict}: {prose(record.sentence)}", rules_table(record.rules))


def summarise_production(record: ProductionRecord) -> str:
    """The version in production before and after the run."""
    rows = []
    for when, version in (("before", record.before), ("after", record.after)):
        cells = ["none", *[NOTHING] * 5]
        if version:
            scores = (score(version.accuracy), score(version.f1))
            name, made = code(version.version), digest(version.digest)
            cells = [name, version.report, *scores, version.promoted_at, made]
        rows.append([when, *cells])
    header = ["", "version", "report", ">accuracy", ">F1", "promoted", "digest"]
    return _summary(prose(record.sentence), table(header, rows))


def summarise_predictions(record: PredictionsRecord) -> str:
    """The rows of each label, and the version that labelled them."""
    aside = f"; {integer(record.rows_skipped)} had no text" if record.rows_skipped else ""
    if record.rows_accepted is not None:
        aside += f"; {integer(record.rows_accepted)} accepted"
    rows = (
        [code(label), integer(rows), percent(rows / max(1, record.rows))]
        for label, rows in record.label_rows.items()
    )
    return _summary(
        f"{count(record.rows, 'row')} labelled by {escape(record.version)} in "
        f"{seconds(record.seconds)}{aside}",
        table("label | >rows | >share", rows),
    )


def summarise_registry(record: RegistryRecord) -> str:
    """The registry line of this run."""
    return _summary(
        f"One line in {escape(record.file)}, after {count(record.lines_before, 'earlier line')}",
        table(["line"], [[plain(record.line)]]),
    )


def summarise_tech_debt(record: TechDebtRecord) -> str:
    """The tech-debt items that this run wrote."""
    changes = {change: len(record.numbers(change)) for change in ("new", "repeated", "resolved")}
    sentence = ", ".join(f"{integer(number)} {change}" for change, number in changes.items())
    return _summary(sentence, debt_table(record.changes))


def fact_of(record: Record) -> str:
    """The one fact that matters about what a stage made, in a few words; empty if there is none."""
    fact = _FACTS.get(type(record))
    return fact(record) if fact else ""


def _dataset_fact(record: DatasetRecord) -> str:
    failed = record.failed_checks
    blocking = sum(check.blocks for check in failed)
    quarantined = sum(split.rows_quarantined for split in record.splits.values())
    numbers = {
        "row": record.rows,
        "quarantined row": quarantined,
        "blocking check": blocking,
        "warning": len(failed) - blocking,
    }
    return ", ".join(count(number, noun) for noun, number in numbers.items() if number)


def _evaluation_fact(record: EvaluationRecord) -> str:
    baseline = record.baseline.other_f1
    against = f", n-gram baseline {baseline.value:.3f}" if baseline else ""
    return f"test {f1_name(record)} {record.f1.value:.3f}{against}"


_FACTS: dict[type[Record], Callable[[Any], str]] = {
    ExperimentRecord: lambda record: count(record.known_runs, "earlier run"),
    DatasetRecord: _dataset_fact,
    TrainingPlan: lambda record: f"candidates {', '.join(record.recipe.candidates)}",
    BaselineRecord: lambda record: f"n-gram baseline macro-F1 {record.linear.f1_macro.value:.3f}",
    CheckpointRecord: lambda record: (
        f"{record.chosen}, macro-F1 {record.winner.f1_macro.value:.3f}"
    ),
    EvaluationRecord: _evaluation_fact,
    ExportRecord: lambda record: (
        f"{megabytes(record.size_bytes)}, p95 {number(record.latency_ms_p95)} ms"
    ),
    DecisionRecord: lambda record: str(record.verdict),
    ProductionRecord: lambda record: record.sentence.rstrip("."),
    TechDebtRecord: lambda record: count(len(record.changes), "item"),
}


def _summary(sentence: str, body: Markdown) -> str:
    return f"**{sentence}**\n\n{body}\n"
