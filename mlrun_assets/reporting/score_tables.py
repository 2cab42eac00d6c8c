"""The tables about how well the model does, and what the rules say to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlrun_assets.records import (
    BaselineCandidate,
    ClassScores,
    Comparison,
    DecisionRecord,
    EvaluationRecord,
    RuleOutcome,
    RuleResult,
    RunRecords,
    Score,
    Scores,
)
from mlrun_assets.reporting.escaping import Markdown, code, escape, prose
from mlrun_assets.reporting.formats import NOTHING, count, difference, number, score, seconds
from mlrun_assets.reporting.tables import CELL_LIMIT, table

MOST_CLASSES = 25
MOST_SLICES = 20
MOST_PARTS = 15
LABEL_LIMIT = 48
_SCORES_HEADER = ("", ">accuracy", ">macro-F1", ">weighted-F1")


def scores_table(records: RunRecords) -> Markdown:
    """The model beside its baselines, the model in production and the thresholds."""
    rows = []
    if records.evaluation:
        rows.append(scores_row(Markdown("**this model**"), records.evaluation.test))
        rows += _without_leaks_row(records.evaluation)
    if records.baseline:
        chosen = escape(records.baseline.chosen, LABEL_LIMIT)
        majority = escape(records.baseline.majority_label, LABEL_LIMIT)
        linear = Markdown(f"n-gram baseline ({chosen})")
        rows.append(scores_row(linear, records.baseline.linear))
        always = Markdown(f"majority class ({majority})")
        rows.append(scores_row(always, records.baseline.majority))
    if records.evaluation:
        rows += _production_row(records.evaluation)
        rows += _threshold_row(records.evaluation, records.decision)
        rows.append(scores_row(Markdown("this model on val"), records.evaluation.val))
    return table(_SCORES_HEADER, rows)


def scores_rows_table(scores: dict[str, Scores]) -> Markdown:
    """The scores of one model on several splits, by name."""
    return table(_SCORES_HEADER, (scores_row(escape(name), one) for name, one in scores.items()))


def scores_row(name: Markdown, scores: Scores) -> list[Markdown]:
    """One model's row of the scores."""
    return [name, score(scores.accuracy), score(scores.f1_macro), score(scores.f1_weighted)]


def f1_name(evaluation: EvaluationRecord) -> Markdown:
    """The F1 that the thresholds and comparisons mean: ``macro-F1`` or ``weighted-F1``."""
    return escape(f"{evaluation.f1_kind}-F1")


def per_class_table(classes: Sequence[ClassScores]) -> Markdown:
    """Scores of each label; of the `MOST_CLASSES` with the lowest F1 where there are more.

    The first column is the number that a picture shows where it can't draw the label.
    """
    numbered = list(enumerate(classes, 1))
    if len(numbered) > MOST_CLASSES:
        numbered = sorted(numbered, key=lambda item: item[1].f1)[:MOST_CLASSES]
    return table(
        [">no.", "label", ">precision", ">recall", ">F1", ">rows", ">predicted"],
        (
            [
                count(place),
                escape(label.label, LABEL_LIMIT),
                score(label.precision),
                score(label.recall),
                score(label.f1),
                count(label.support),
                count(label.predicted),
            ]
            for place, label in numbered
        ),
    )


def slices_table(evaluation: EvaluationRecord) -> Markdown:
    """Accuracy on the parts of the test split, at most `MOST_SLICES`, with rows enough first."""
    return table(
        ["slice", "value", ">rows", ">accuracy"],
        (
            [
                escape(part.column, LABEL_LIMIT),
                escape(part.value, LABEL_LIMIT),
                count(part.rows),
                score(part.accuracy) if part.accuracy else Markdown("insufficient evidence"),
            ]
            for part in sorted(evaluation.slices, key=lambda each: each.accuracy is None)[
                :MOST_SLICES
            ]
        ),
    )


def parts_table(comparison: Comparison) -> Markdown:
    """Recall of both models by label and slice, the largest loss first, at most `MOST_PARTS`."""
    parts = sorted((*comparison.labels, *comparison.slices), key=lambda part: -part.loss.value)
    return table(
        ["label or slice", ">rows", ">this model", f">{comparison.against}", ">loss"],
        (
            [
                escape(part.part, LABEL_LIMIT),
                count(part.rows),
                score(part.recall),
                score(part.other_recall),
                difference(part.loss),
            ]
            for part in parts[:MOST_PARTS]
        ),
    )


def candidates_table(candidates: Iterable[BaselineCandidate]) -> Markdown:
    """The linear models that were tried."""
    return table(
        ["model", ">val accuracy", ">val macro-F1", ">time"],
        (
            [one.name, score(one.val_accuracy), score(one.val_f1_macro), seconds(one.seconds)]
            for one in candidates
        ),
    )


def rules_table(rules: Iterable[RuleResult]) -> Markdown:
    """What each rule of the decision compared, and what follows."""
    return table(
        ["rule", "outcome", ">value", ">limit", "why"],
        (
            [
                code(rule.rule),
                _outcome(rule.outcome),
                _rule_value(rule),
                number(rule.limit),
                prose(rule.sentence, CELL_LIMIT),
            ]
            for rule in rules
        ),
    )


def _outcome(outcome: RuleOutcome) -> Markdown:
    quiet = outcome in {RuleOutcome.PASSED, RuleOutcome.OFF}
    return Markdown(outcome.value if quiet else f"**{outcome.value}**")


def _rule_value(rule: RuleResult) -> Markdown:
    if rule.value is None or rule.low is None or rule.high is None:
        return number(rule.value)
    return score(Score(value=rule.value, low=rule.low, high=rule.high))


def _f1_cells(evaluation: EvaluationRecord, value: float | None) -> list[Markdown]:
    macro = evaluation.f1_kind == "macro"
    return [score(value) if macro else NOTHING, NOTHING if macro else score(value)]


def _without_leaks_row(evaluation: EvaluationRecord) -> list[list[Markdown]]:
    clean = evaluation.test_without_leaks
    if clean is None:
        return []
    leaking = evaluation.test.rows - clean.rows
    name = Markdown(f"this model, without {count(leaking)} test rows known from other splits")
    return [scores_row(name, clean)]


def _production_row(evaluation: EvaluationRecord) -> list[list[Markdown]]:
    production = evaluation.production
    if production is None or not production.comparable:
        return []
    name = Markdown(f"production ({escape(production.against, LABEL_LIMIT)})")
    cells = _f1_cells(evaluation, production.other_f1)
    return [[name, score(production.other_accuracy), *cells]]


def _threshold_row(
    evaluation: EvaluationRecord, decision: DecisionRecord | None
) -> list[list[Markdown]]:
    limits = {rule.rule: rule.limit for rule in decision.rules} if decision else {}
    if "min_accuracy" not in limits and "min_f1" not in limits:
        return []
    cells = _f1_cells(evaluation, limits.get("min_f1"))
    return [[Markdown("threshold"), score(limits.get("min_accuracy")), *cells]]
