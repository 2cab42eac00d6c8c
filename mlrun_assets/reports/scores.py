"""Scores of the model and outcomes of the rules: tables, then sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlrun_assets.errors import count
from mlrun_assets.markdown import Markdown, code, escape, joined, prose
from mlrun_assets.records import (
    MIN_ROWS_JUDGED,
    BaselineRecord,
    ClassScores,
    Comparison,
    DecisionRecord,
    EvaluationRecord,
    FrozenRecord,
    NgramCandidate,
    RuleOutcome,
    RuleResult,
    RunRecords,
    Score,
    Scores,
    SliceScores,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    difference,
    integer,
    number,
    percent,
    score,
    seconds,
)
from mlrun_assets.reports.tables import CELL_LIMIT, table

MOST_CLASSES = 25
MOST_SLICES = 20
MOST_PARTS = 15
LABEL_LIMIT = 48
_SCORES_HEADER = ["", ">accuracy", ">macro-F1", ">weighted-F1"]


def scores_table(records: RunRecords) -> Markdown:
    """Scores of the model, its baselines, the production model, and the thresholds."""
    evaluation, baseline = records.evaluation, records.baseline
    rows = []
    if evaluation:
        rows.append(scores_row("**this model**", evaluation.test))
        clean = evaluation.test_without_leaks
        if clean:
            leaks = count(evaluation.test.rows - clean.rows, "test row")
            rows.append(scores_row(f"this model, without {leaks} that other splits contain", clean))
    if baseline:
        linear = f"n-gram baseline ({escape(baseline.chosen, LABEL_LIMIT)})"
        majority = f"majority class ({escape(baseline.majority_label, LABEL_LIMIT)})"
        rows.append(scores_row(linear, baseline.linear))
        rows.append(scores_row(majority, baseline.majority))
    if evaluation:
        rows += _reference_rows(evaluation, records.decision)
        rows.append(scores_row("this model on val", evaluation.val))
    return table(_SCORES_HEADER, rows)


def _reference_rows(
    evaluation: EvaluationRecord, decision: DecisionRecord | None
) -> list[list[Markdown]]:
    """Scores of the production model, and the thresholds, in the column of their F1."""
    rows: list[tuple[str, Score | float | None, Score | float | None]] = []
    production = evaluation.production
    if production and production.comparable:
        name = f"production ({escape(production.against, LABEL_LIMIT)})"
        rows.append((name, production.other_accuracy, production.other_f1))
    limits = {rule.rule: rule.limit for rule in decision.rules} if decision else {}
    if limits.keys() & {"min_accuracy", "min_f1"}:
        rows.append(("threshold", limits.get("min_accuracy"), limits.get("min_f1")))
    macro = evaluation.f1_kind == "macro"
    return [
        [Markdown(name), score(accuracy), *map(score, (f1, None) if macro else (None, f1))]
        for name, accuracy, f1 in rows
    ]


def scores_rows_table(scores: dict[str, Scores]) -> Markdown:
    """Scores by the name of the model or split, which is Markdown."""
    return table(_SCORES_HEADER, (scores_row(name, one) for name, one in scores.items()))


def scores_row(name: str, scores: Scores) -> list[Markdown]:
    """One model's row of the scores; ``name`` is Markdown."""
    return [Markdown(name), *map(score, (scores.accuracy, scores.f1_macro, scores.f1_weighted))]


def f1_name(evaluation: EvaluationRecord) -> Markdown:
    """The F1 of the thresholds and comparisons: ``macro-F1`` or ``weighted-F1``."""
    return escape(f"{evaluation.f1_kind}-F1")


def per_class_table(classes: Sequence[ClassScores]) -> Markdown:
    """Scores of each label, or of the `MOST_CLASSES` labels with the lowest F1.

    The first column is the number that a picture shows in place of a label it can't draw.
    """
    numbered = list(enumerate(classes, 1))
    if len(numbered) > MOST_CLASSES:
        numbered = sorted(numbered, key=lambda item: item[1].f1)[:MOST_CLASSES]
    return table(
        ">no. | label | >precision | >recall | >F1 | >rows | >predicted",
        (
            [
                integer(place),
                escape(label.label, LABEL_LIMIT),
                score(label.precision),
                score(label.recall),
                score(label.f1),
                integer(label.support),
                integer(label.predicted),
            ]
            for place, label in numbered
        ),
    )


def slices_table(slices: Iterable[SliceScores]) -> Markdown:
    """Accuracy on slices of the test split, scored ones first, at most `MOST_SLICES`."""
    parts = sorted(slices, key=lambda part: part.accuracy is None)[:MOST_SLICES]
    return table(
        "slice | value | >rows | >accuracy",
        (
            [
                escape(part.column, LABEL_LIMIT),
                escape(part.value, LABEL_LIMIT),
                integer(part.rows),
                score(part.accuracy) if part.accuracy else "insufficient evidence",
            ]
            for part in parts
        ),
    )


def parts_table(comparison: Comparison) -> Markdown:
    """Recall of both models by label and slice, largest loss first, at most `MOST_PARTS`."""
    parts = sorted((*comparison.labels, *comparison.slices), key=lambda part: -part.loss.value)
    return table(
        ["label or slice", ">rows", ">this model", f">{comparison.against}", ">loss"],
        (
            [
                escape(part.name, LABEL_LIMIT),
                integer(part.rows),
                score(part.recall),
                score(part.other_recall),
                difference(part.loss),
            ]
            for part in parts[:MOST_PARTS]
        ),
    )


def cheap_models_table(baseline: BaselineRecord) -> Markdown:
    """The n-gram models and the frozen encoder in cross-validation on train and val."""
    tried = {f"n-grams, {one.name}": one for one in baseline.candidates}
    models: dict[str, NgramCandidate | FrozenRecord] = {**tried}
    heads = {"": baseline.frozen, " with helper rows": baseline.helped}
    for added, head in heads.items():
        if head:
            named = f", {percent(head.label_names)} from label names" if head.label_names else ""
            models[f"frozen encoder, linear head{added}{named}"] = head
    rows = (
        [name, score(one.f1_macro), score(one.accuracy), seconds(one.seconds)]
        for name, one in models.items()
    )
    return table("in cross-validation | >macro-F1 | >accuracy | >time", rows)


def rules_table(rules: Iterable[RuleResult]) -> Markdown:
    """Value, limit, outcome and reason of each rule."""
    rows = []
    for rule in rules:
        quiet = rule.outcome in {RuleOutcome.PASSED, RuleOutcome.OFF}
        value = number(rule.value)
        if rule.value is not None and rule.low is not None and rule.high is not None:
            value = score(Score(value=rule.value, low=rule.low, high=rule.high))
        outcome = Markdown(rule.outcome if quiet else f"**{rule.outcome}**")
        why = prose(rule.sentence, CELL_LIMIT)
        rows.append([code(rule.rule), outcome, value, number(rule.limit), why])
    return table("rule | outcome | >value | >limit | why", rows)


# Sentences


def calibration_sentence(evaluation: EvaluationRecord) -> Markdown:
    """Whether the model is over- or underconfident."""
    bins, accuracy = evaluation.calibration.bins, evaluation.test.accuracy
    rows = sum(each.rows for each in bins)
    confidence = sum(each.rows * each.confidence for each in bins) / rows
    judged = "not shown to be over- or underconfident"
    if confidence > accuracy.high:
        judged = "overconfident"
    elif confidence < accuracy.low:
        judged = "underconfident"
    return Markdown(
        f"The model is **{judged}**: its mean confidence is {percent(confidence, 0)}, its accuracy "
        f"{_percent_interval(accuracy)}."
    )


def calibration_table(evaluation: EvaluationRecord) -> Markdown:
    """The calibration error beside that of a perfectly calibrated model, and the Brier score."""
    found = evaluation.calibration
    chance = Markdown(f"{score(found.chance.mean)}, up to {score(found.chance.p95)}")
    rows: list[list[str]] = [
        ["expected calibration error", score(found.error), chance],
        ["Brier score", score(found.brier), NOTHING],
        ["Matthews correlation", score(evaluation.test.mcc), NOTHING],
    ]
    return table(["measure", ">value", ">if perfectly calibrated"], rows)


def acceptance_table(evaluation: EvaluationRecord) -> Markdown:
    """By minimum precision: the confidence threshold, and the test rows that it accepts."""
    rows = []
    for each in evaluation.acceptance:
        cells = ["not shown", NOTHING, NOTHING]
        if each.test:
            share, precision = each.test.coverage, each.test.precision
            cells = [
                percent(each.test.confidence, 0),
                _percent_interval(share),
                _percent_interval(precision),
            ]
        rows.append([percent(each.shown.min_precision, 0), *cells])
    return table(">minimum precision | >confidence | >test rows accepted | >right of them", rows)


def _percent_interval(found: Score | None) -> Markdown:
    if found is None:
        return NOTHING
    value, low, high = (percent(each, 0) for each in (found.value, found.low, found.high))
    return Markdown(f"{value} [{low}, {high}]")


def acceptance_sentence(evaluation: EvaluationRecord) -> Markdown:
    """What an accepted row is, and which precision is not shown."""
    shown = [each.shown for each in evaluation.acceptance]
    use = f"{code('deployment.min_precision')} is not set, so the model marks no row."
    if shown[0].configured:
        use = "It is not shown, so the model marks no row."
        if shown[0].confidence is not None:
            use = f"The model accepts these rows ({code('accept_confidence')} in its config)."
    missing = [
        f"{percent(each.min_precision, 0)} ({_enough(each.rows_needed)})"
        for each in shown
        if each.confidence is None
    ]
    rows = f" {count(shown[0].rows, 'row')} can't show {' or '.join(missing)}." if missing else ""
    return Markdown(
        "The confidence is a threshold: labels with at least this confidence are shown to have the "
        "minimum precision. It is chosen on rows that were neither trained on nor in the test "
        f"split. {use}{rows}"
    )


def _enough(rows: int | None) -> str:
    return (
        "more rows will not help" if rows is None else f"about {count(rows, 'row')} would show it"
    )


def parts_comparison(evaluation: EvaluationRecord) -> Comparison:
    """The comparison by label and slice: with production, else with the baseline."""
    production = evaluation.production
    return production if production and production.comparable else evaluation.baseline


def parts_sentence(comparison: Comparison) -> Markdown:
    """The models, rows and intervals of the table by label and slice, and the losses in it."""
    parts = (*comparison.labels, *comparison.slices)
    lost = joined(part.name for part in parts if part.loss.low > 0)
    worse = f"Significantly worse: {lost}" if lost else "No label or slice is significantly worse"
    confidence = comparison.joint_confidence and round(100 * comparison.joint_confidence, 2)
    return Markdown(
        f"This model compared with {escape(comparison.against)}: recall on labels and accuracy on "
        f"slices with at least {MIN_ROWS_JUDGED} test rows ({integer(len(parts))} in all). Losses "
        f"have Newcombe's paired intervals at {number(confidence)} % confidence each, corrected "
        f"for multiple comparisons (Bonferroni). {worse}."
    )


def label_next_sentence(evaluation: EvaluationRecord) -> Markdown | None:
    """How to use the list of rows to label next; None if it is empty."""
    found = evaluation.label_next
    if not found.rows:
        return None
    file = f"{code(evaluation.label_next_file)} of the experiment"
    why = "The models disagree on them or are unsure"
    if found.split == "unlabelled":
        if any(each.shown.configured and each.test for each in evaluation.acceptance):
            why = "The model does not accept them"
        return Markdown(
            f"Label the {integer(found.rows)} of {count(found.candidates, 'unlabelled text')}"
            f" listed in {file} first. {why}. Add them to the training split only: test rows must "
            "be a random sample."
        )
    doubted = f": for {integer(found.doubted)} of them, no model predicts the given label"
    return Markdown(
        f"Label more texts like the {integer(found.rows)} of {count(found.candidates, 'val row')} "
        f"listed in {file}. {why}. Check the labels of these rows too"
        f"{doubted if found.doubted else ''}. With {code('data.unlabelled_path')} set, texts to "
        "label are listed instead."
    )
