"""Scores of the model and outcomes of the rules: tables, then sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlrun_assets.errors import count
from mlrun_assets.evaluation.calibration import TEMPERATURES
from mlrun_assets.records import (
    MIN_ROWS_JUDGED,
    BaselineCandidate,
    Calibration,
    CheckOutcome,
    ClassScores,
    Comparison,
    DatasetRecord,
    DecisionRecord,
    ErrorByChance,
    EvaluationRecord,
    RuleOutcome,
    RuleResult,
    RunRecords,
    Score,
    Scores,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    Markdown,
    code,
    difference,
    escape,
    integer,
    joined,
    number,
    prose,
    score,
    seconds,
)
from mlrun_assets.reports.tables import CELL_LIMIT, table

MOST_CLASSES = 25
MOST_SLICES = 20
MOST_PARTS = 15
LABEL_LIMIT = 48
_SCORES_HEADER = ("", ">accuracy", ">macro-F1", ">weighted-F1")


def scores_table(records: RunRecords) -> Markdown:
    """Scores of the model, its baselines, the production model, and the thresholds."""
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
        [">no.", "label", ">precision", ">recall", ">F1", ">rows", ">predicted"],
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


def slices_table(evaluation: EvaluationRecord) -> Markdown:
    """Accuracy on slices of the test split, scored ones first, at most `MOST_SLICES`."""
    return table(
        ["slice", "value", ">rows", ">accuracy"],
        (
            [
                escape(part.column, LABEL_LIMIT),
                escape(part.value, LABEL_LIMIT),
                integer(part.rows),
                score(part.accuracy) if part.accuracy else Markdown("insufficient evidence"),
            ]
            for part in sorted(evaluation.slices, key=lambda each: each.accuracy is None)[
                :MOST_SLICES
            ]
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
    """Value, limit, outcome and reason of each rule."""
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
    leaks = count(leaking, "test row")
    name = Markdown(f"this model, without {leaks} that other splits contain")
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


# Sentences


def calibration_sentence(evaluation: EvaluationRecord) -> Markdown:
    """How well the probabilities are calibrated, and Matthews' correlation coefficient."""
    calibration = evaluation.calibration
    return Markdown(
        f"{_fullest_bin(calibration)}; {_on_average(evaluation)}. {_errors(calibration)} Matthews "
        f"correlation {score(evaluation.test.mcc)}; evaluated at "
        f"{number(round(evaluation.rows_per_second, 1))} rows/s."
    )


def _fullest_bin(calibration: Calibration) -> str:
    """Confidence and accuracy in the bin with the most rows."""
    fullest = max(calibration.bins, key=lambda each: each.rows)
    rows = sum(each.rows for each in calibration.bins)
    return (
        f"**At a confidence of {_rounded(fullest.confidence)} the model is right in "
        f"{_rounded(fullest.accuracy)} {_between(fullest.accuracy_low, fullest.accuracy_high)} of "
        f"cases** ({integer(fullest.rows)} of {count(rows, 'row')})"
    )


def _on_average(evaluation: EvaluationRecord) -> str:
    bins, accuracy = evaluation.calibration.bins, evaluation.test.accuracy
    confidence = sum(each.rows * each.confidence for each in bins) / sum(each.rows for each in bins)
    if confidence > accuracy.high:
        judged = "it is overconfident"
    elif confidence < accuracy.low:
        judged = "it is underconfident"
    else:
        judged = "it is not shown to be over- or underconfident"
    return (
        f"its mean confidence is {_rounded(confidence)}, its accuracy {_rounded(accuracy.value)} "
        f"{_between(accuracy.low, accuracy.high)}: {judged}"
    )


def _errors(calibration: Calibration) -> str:
    least, most = TEMPERATURES
    limit = ""
    if calibration.temperature < 1.01 * least:
        limit = " (the minimum; val has too few errors to fit it)"
    elif calibration.temperature > 0.99 * most:
        limit = " (the maximum; the model needs more)"
    return (
        f"Expected calibration error {score(calibration.error)}, "
        f"{_beside_chance(calibration.error, calibration.chance)}; Brier score "
        f"{score(calibration.brier)}. Temperature scaling, fitted on val, gives a temperature of "
        f"{number(round(calibration.temperature, 2))}{limit}. With it: calibration error "
        f"{score(calibration.error_scaled)}, "
        f"{_beside_chance(calibration.error_scaled, calibration.chance_scaled)}; Brier score "
        f"{score(calibration.brier_scaled)}. The deployed model does not use the "
        "temperature, which would not change its labels."
    )


def _beside_chance(error: float, chance: ErrorByChance) -> str:
    """Whether an error is larger than that of a perfectly calibrated model on as many rows."""
    judged = "above" if error > chance.p95 else "within"
    return (
        f"{judged} chance (a perfectly calibrated model has {score(chance.mean)} on average, 95th "
        f"percentile {score(chance.p95)})"
    )


def _rounded(fraction: float) -> str:
    """``97 %``; 0 % and 100 % only where they are exact."""
    if 0.995 <= fraction < 1.0:
        return "> 99 %"
    return "< 1 %" if 0.0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _between(low: float, high: float) -> str:
    return f"[{_rounded(low)}, {_rounded(high)}]"


def missing_slices_sentence(
    evaluation: EvaluationRecord, dataset: DatasetRecord | None
) -> Markdown:
    """Why there is no `truncated` or `code-switched` slice; empty if there are both."""
    found = {part.column for part in evaluation.slices}
    checked = any(
        check.name == "code_switching" and check.outcome is not CheckOutcome.OFF
        for check in (dataset.checks if dataset else ())
    )
    # Without the check no row is tagged, whatever its languages.
    switched = "all test rows mix languages, or none does" if checked else "that check is off"
    reasons = {"truncated": "all test rows are truncated, or none is", "code-switched": switched}
    return Markdown(
        " ".join(
            f"No {code(name)} slice: {reason}."
            for name, reason in reasons.items()
            if name not in found
        )
    )


def parts_comparison(evaluation: EvaluationRecord) -> Comparison:
    """The comparison by label and slice: with production, else with the baseline."""
    production = evaluation.production
    return production if production and production.comparable else evaluation.baseline


def parts_sentence(comparison: Comparison) -> Markdown:
    """The models, rows and intervals of the table by label and slice, and the losses in it."""
    parts = (*comparison.labels, *comparison.slices)
    lost = [escape(part.name) for part in parts if part.loss.low > 0]
    together = comparison.joint_confidence
    confidence = number(together and round(100 * together, 2))
    return Markdown(
        f"This model compared with {escape(comparison.against)}: recall on labels and accuracy on "
        f"slices with at least {MIN_ROWS_JUDGED} test rows ({integer(len(parts))} in all). Losses "
        f"have Newcombe's paired intervals at {confidence} % confidence each, corrected for "
        "multiple comparisons (Bonferroni). "
        + (
            f"Significantly worse: {joined(lost)}."
            if lost
            else "No label or slice is significantly worse."
        )
    )


def label_next_sentence(evaluation: EvaluationRecord) -> Markdown | None:
    """How to use the list of rows to label next; None if it is empty."""
    found = evaluation.label_next
    if not found.rows:
        return None
    file = f"{code(evaluation.label_next_file)} of the experiment"
    why = "The models disagree on them or are unsure; the list alternates the predicted labels"
    if found.split == "unlabelled":
        return Markdown(
            f"Label first the {integer(found.rows)} of {count(found.candidates, 'unlabelled text')}"
            f" listed in {file}. {why}. Add them to the training split only: test rows must "
            "be a random sample."
        )
    doubted = (
        f" ({integer(found.doubted)} with a label that no model predicts)" if found.doubted else ""
    )
    return Markdown(
        f"Label more texts like the {integer(found.rows)} of {count(found.candidates, 'val row')} "
        f"listed in {file}. {why}. Check the labels of these rows too{doubted}. With "
        f"{code('data.unlabelled_path')} set, texts to label are listed instead. Test rows are "
        "never listed, so that the test split stays fair."
    )
