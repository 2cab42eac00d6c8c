"""The rules of the decision: one function per rule, from the records to value, limit and outcome.

To add a rule: a function here, its texts in `verdict.SCORE_RULES` or `EXPORT_RULES`, its call in
`verdict.judge_scores` or `judge_export`, and its key in `config.sections.DeploymentConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import count, listed, percent
from mlrun_assets.records import (
    MIN_AGREEMENT,
    MIN_ROWS_JUDGED,
    EvaluationRecord,
    ExportRecord,
    RuleOutcome,
    RuleResult,
    Score,
    SliceComparison,
)
from mlrun_assets.statistics import formatted_p, rows_to_settle, scarce_label

# The thresholds


def min_accuracy(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test accuracy reaches ``deployment.min_accuracy``."""
    limit = config.min_accuracy
    result = _threshold("min_accuracy", "accuracy", evaluation.test.accuracy, limit, config)
    return _naming_labels(result, evaluation)


def min_f1(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test F1 reaches ``deployment.min_f1``."""
    name = f"{evaluation.f1_kind}-F1"
    result = _threshold("min_f1", name, evaluation.f1, config.min_f1, config)
    return _naming_labels(result, evaluation)


def min_coverage(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The share of the test rows that is accepted reaches ``deployment.min_coverage``."""
    found = next(
        (
            each
            for each in evaluation.acceptance
            if each.shown.min_precision == config.min_precision
        ),
        None,
    )
    if found is None:
        return _off("min_coverage", "deployment.min_precision is not set")
    limit, test = config.min_coverage, found.test
    if limit is None:
        says = "deployment.min_coverage is not set"
        return _off("min_coverage", says, test.coverage.value if test else 0.0)
    if test is None:
        says = "no confidence is shown to give deployment.min_precision, so no row is accepted"
        return _measured("min_coverage", RuleOutcome.FAILED, says, 0.0, limit)
    return _threshold("min_coverage", "coverage", test.coverage, limit, config)


def _threshold(
    rule: str, name: str, score: Score, limit: float, config: DeploymentConfig
) -> RuleResult:
    gated, what = score.value, f"test {name}"
    if config.gate_on == "ci_lower":
        gated, what = score.low, f"the lower bound of the test {name}"
    # Three digits, or as many as make the two differ: 0.850 is not below 0.850.
    differ = (n for n in range(3, 7) if f"{gated:.{n}f}" != f"{limit:.{n}f}")
    digits = next(differ, 3)
    says = "reaches" if gated >= limit else "is below"
    sentence = f"{what} {gated:.{digits}f} {says} {limit:.{digits}f}"
    shown = Score(value=gated, low=score.low, high=score.high)
    return _measured(rule, _passed_if(gated >= limit), sentence, shown, limit)


MOST_NAMED = 3
"""The most labels that a remedy names."""


def _naming_labels(result: RuleResult, evaluation: EvaluationRecord) -> RuleResult:
    """The result; if it failed, with the weakest labels and the most that they can gain."""
    if result.outcome is not RuleOutcome.FAILED:
        return result
    test = evaluation.test
    wrong = {
        label: label.support - row[place]
        for place, (label, row) in enumerate(zip(test.per_class, test.confusion, strict=True))
        if label.support
    }
    mean = sum(label.f1 for label in wrong) / len(wrong)
    weak = sorted((label for label in wrong if label.f1 <= mean), key=lambda label: label.f1)
    weak = weak[:MOST_NAMED]
    theirs, of = sum(wrong[label] for label in weak), sum(wrong.values())
    names = listed(f"{label.label} (F1 {label.f1:.2f})" for label in weak)
    these = "this label" if len(weak) == 1 else "these labels"
    remedy = (
        f"Label more rows of {names}, then run again. Of the {count(of, 'wrong test row')}, "
        f"{theirs:,} {'has' if theirs == 1 else 'have'} {these}: if all of these were right, "
        f"accuracy would be {1 - (of - theirs) / test.rows:.3f}."
    )
    return result.model_copy(update={"remedy": remedy})


# The n-gram baseline and the model in production


def beats_baseline(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The model is shown to beat the n-gram baseline."""
    mode, difference = config.beats_baseline, evaluation.baseline.f1_difference
    if mode == "off" or difference is None:
        return _off("beats_baseline", "turned off in deployment.beats_baseline")
    if evaluation.chosen == "ngrams":
        return _off("beats_baseline", "the model is the n-gram baseline")
    if difference.high < 0:
        outcome, says = RuleOutcome.FAILED, "shown to be worse than the n-gram baseline"
    elif difference.low > 0:
        outcome, says = RuleOutcome.PASSED, "shown to beat the n-gram baseline"
    else:
        outcome = RuleOutcome.INCONCLUSIVE if mode == "strict" else RuleOutcome.WARNED
        says = "not shown to beat the n-gram baseline"
    sentence = f"{says}: {_points(difference)}"
    return _f1_difference("beats_baseline", outcome, sentence, difference, 0.0, evaluation)


def versus_production(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The challenger satisfies ``deployment.policy`` against the model in production.

    If production can't be compared, this rule reports it for the guards too, so that they never
    pass silently, unless they are turned off as well.
    """
    policy, comparison = config.policy, evaluation.production
    if comparison is None:
        return _off("versus_production", "nothing is in production yet")
    if comparison.identical:
        return _off("versus_production", comparison.reason)
    difference, p = comparison.f1_difference, comparison.mcnemar_p
    if policy == "off" and (config.max_recall_loss >= 1 or difference is not None):
        return _off("versus_production", "turned off in deployment.policy")
    if difference is None or p is None:
        guarded = " (deployment.max_recall_loss: 1 turns off what compares labels and slices)"
        says = comparison.reason + (guarded if policy == "off" else "")
        return _unmeasured("versus_production", RuleOutcome.INCOMPARABLE, says)
    outcome = judge_difference(config, difference)
    says = {
        RuleOutcome.PASSED: _POLICY_SAYS[policy],
        RuleOutcome.FAILED: "worse than production",
        RuleOutcome.INCONCLUSIVE: (
            f"{count(comparison.rows, 'test row')} can't show whether it is {_POLICY_SAYS[policy]}"
        ),
    }[outcome]
    says += (
        f": {_points(difference)}; {count(comparison.only_challenger_right or 0, 'row')} only this "
        f"model gets right, {comparison.only_other_right} only production "
        f"(McNemar p {formatted_p(p)})"
    )
    limit = _limit(config)
    return _f1_difference("versus_production", outcome, says, difference, limit, evaluation)


def judge_difference(config: DeploymentConfig, difference: Score) -> RuleOutcome:
    """Apply ``deployment.policy`` to an F1 difference, challenger minus production."""
    if config.policy == "no_worse":
        return _passed_if(difference.value >= 0)
    if difference.low > _limit(config):
        return RuleOutcome.PASSED
    shown = difference.high < _limit(config)
    return RuleOutcome.FAILED if shown else RuleOutcome.INCONCLUSIVE


def _limit(config: DeploymentConfig) -> float:
    return -config.margin if config.policy == "non_inferior" else 0.0


_POLICY_SAYS = {
    "non_inferior": "at most deployment.margin worse than production",
    "superior": "better than production",
    "no_worse": "no worse than production on these rows",
}


def _points(difference: Score) -> str:
    value, low, high = (
        f"{each * 100:+.1f}" for each in (difference.value, difference.low, difference.high)
    )
    return f"{value} points of F1 [{low}, {high}]"


def _f1_difference(
    rule: str,
    outcome: RuleOutcome,
    sentence: str,
    difference: Score,
    limit: float,
    evaluation: EvaluationRecord,
) -> RuleResult:
    """The result; if it is inconclusive, with the number of rows that would settle it.

    If the few rows of one label dominate the variance of the macro-F1, it has that label too.
    """
    result = _measured(rule, outcome, sentence, difference, limit)
    if outcome is not RuleOutcome.INCONCLUSIVE:
        return result
    test = evaluation.test
    needed = rows_to_settle(test.rows, difference, limit, evaluation.confidence)
    scarce = None
    if evaluation.f1_kind == "macro":
        scarce = scarce_label(np.array([one.support for one in test.per_class]))
    label = None if scarce is None else test.per_class[scarce].label
    return result.model_copy(update={"rows_needed": needed, "scarce_label": label})


# Labels and slices against production


def class_guard(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """No label loses too much recall against production, and every label is predicted.

    With 30 rows and a recall of 0.2, a label is predicted at least once 999 times in 1,000.
    """
    losses = _losses("class_guard", "label", evaluation, config)
    silent = [one for one in evaluation.test.per_class if one.support and not one.predicted]
    if not silent:
        return losses
    enough = any(one.support >= MIN_ROWS_JUDGED for one in silent)
    outcome = RuleOutcome.FAILED if enough else RuleOutcome.WARNED
    named = listed(f"{one.label} ({count(one.support, 'test row')})" for one in silent)
    says = f"never predicted: {named}"
    if losses.outcome in (RuleOutcome.OFF, RuleOutcome.PASSED):
        return _unmeasured("class_guard", outcome, says)
    worst = min(outcome, losses.outcome, key=list(_SAYS).index)
    return losses.model_copy(update={"outcome": worst, "sentence": f"{says}; {losses.sentence}"})


def slice_guard(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """No slice loses too many of its rows against production."""
    return _losses("slice_guard", "slice", evaluation, config)


def _losses(
    rule: str, kind: str, evaluation: EvaluationRecord, config: DeploymentConfig
) -> RuleResult:
    limit, production = config.max_recall_loss, evaluation.production
    if limit >= 1:
        return _off(rule, "turned off in deployment.max_recall_loss")
    if production is None:
        return _off(rule, "there is no model in production to compare with")
    if not production.comparable:
        incomparable = "production can't be compared, as versus_production says"
        return _off(rule, production.reason if production.identical else incomparable)
    parts = production.labels if kind == "label" else production.slices
    judged = [part for part in parts if part.rows >= MIN_ROWS_JUDGED]
    if not judged:
        return _off(rule, f"no {kind} has {MIN_ROWS_JUDGED} test rows: insufficient evidence")
    outcome, named = grade_losses(judged, limit)
    recalls = (
        f"{part.name} {part.other_recall:.2f} → {part.recall:.2f} of {count(part.rows, 'row')}"
        for part in named
    )
    says = f"{_SAYS[outcome].format(limit)}: {', '.join(recalls)}"
    few = len(parts) - len(judged)
    says += f"; {few} with fewer than {MIN_ROWS_JUDGED} rows not judged" if few else ""
    result = _measured(rule, outcome, says, named[0].loss, limit)
    if outcome is not RuleOutcome.INCONCLUSIVE:
        return result
    confidence = production.joint_confidence or evaluation.confidence
    needed = rows_to_settle(named[0].rows, named[0].loss, limit, confidence)
    return result.model_copy(update={"rows_needed": needed})


# From the severest on.
_SAYS = {
    RuleOutcome.FAILED: "shown to lose more than {:.2f} recall against production",
    RuleOutcome.INCONCLUSIVE: "shown to lose recall against production, perhaps more than {:.2f}",
    RuleOutcome.WARNED: "lost more than {:.2f} recall, but the loss is not significant",
    RuleOutcome.PASSED: "largest recall loss against production (limit {:.2f})",
}


def grade_losses(
    parts: Sequence[SliceComparison], limit: float
) -> tuple[RuleOutcome, list[SliceComparison]]:
    """The outcome of the losses, and the labels or slices that decide it, the largest loss first.

    The intervals hold for all of them together, so that no loss is shown by chance.
    """
    by_loss = sorted(parts, key=lambda part: -part.loss.value)
    beyond = [part for part in by_loss if part.loss.value > limit]
    grades = (
        (RuleOutcome.FAILED, [part for part in beyond if part.loss.low > limit]),
        (RuleOutcome.INCONCLUSIVE, [part for part in beyond if part.loss.low > 0]),
        (RuleOutcome.WARNED, beyond),
    )
    found = (grade for grade in grades if grade[1])
    return next(found, (RuleOutcome.PASSED, by_loss[:1]))


# Looks at the test split


def test_reuse(evaluation: EvaluationRecord) -> RuleResult:
    """The test split was used for at most ``evaluation.max_looks`` models."""
    use = evaluation.test_looks
    models = f"{use.looks:,} models have" if use.looks > 1 else "1 model has"
    says = f"{models} been judged on this test split, this one included"
    if use.used_up:
        confidence = percent(use.confidence, 2)
        says += f": it is used up, so all intervals are widened to {confidence} confidence"
    outcome = RuleOutcome.WARNED if use.used_up else RuleOutcome.PASSED
    return _measured("test_reuse", outcome, says, float(use.looks), float(use.max_looks))


# The exported model


def export_parity(export: ExportRecord) -> RuleResult:
    """The exported model predicts the labels of the checkpoint."""
    agreement, rows = export.agreement, export.rows_compared
    share = percent(agreement)
    says = f"a fresh process gives the checkpoint's label for {share} of {count(rows, 'val row')}"
    outcome = _passed_if(agreement >= MIN_AGREEMENT)
    return _measured("export_parity", outcome, says, agreement, MIN_AGREEMENT)


def latency(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The p95 latency of the fastest form is within ``deployment.max_latency_ms``."""
    fastest, found = _least(export, "latency_ms_p95")
    says = f"the fastest form, {fastest}, has a p95 latency of {found:.1f} ms for one text"
    return _within("latency", "max_latency_ms", says, found, config)


def size(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The smallest form takes no more than ``deployment.max_size_mb``."""
    smallest, size_bytes = _least(export, "size_bytes")
    says = f"the smallest form, {smallest}, takes {size_bytes / 1e6:.1f} MB"
    return _within("size", "max_size_mb", says, size_bytes / 1e6, config)


def _least(export: ExportRecord, measure: str) -> tuple[str, float]:
    """The form in the directory with the lowest ``measure``, and its value."""
    forms = {"transformers": getattr(export, measure)}
    if export.onnx:
        forms["ONNX"] = getattr(export.onnx, measure)
    return min(forms.items(), key=itemgetter(1))


def _within(rule: str, key: str, says: str, found: float, config: DeploymentConfig) -> RuleResult:
    limit: float | None = getattr(config, key)
    if limit is None:
        return _off(rule, f"{says}; deployment.{key} is not set", found)
    return _measured(rule, _passed_if(found <= limit), says, found, limit)


# Results


def _measured(
    rule: str, outcome: RuleOutcome, sentence: str, value: Score | float, limit: float
) -> RuleResult:
    """The result of a rule that compares a value, with its interval if any, with a limit."""
    measured = value.model_dump() if isinstance(value, Score) else {"value": value}
    return RuleResult(rule=rule, outcome=outcome, limit=limit, sentence=sentence, **measured)


def _unmeasured(
    rule: str, outcome: RuleOutcome, sentence: str, value: float | None = None
) -> RuleResult:
    """The result of a rule that compares nothing with a limit."""
    return RuleResult(rule=rule, outcome=outcome, value=value, limit=None, sentence=sentence)


def _off(rule: str, sentence: str, value: float | None = None) -> RuleResult:
    """The result of a rule that is turned off or does not apply."""
    return _unmeasured(rule, RuleOutcome.OFF, sentence, value)


def _passed_if(holds: bool) -> RuleOutcome:
    return RuleOutcome.PASSED if holds else RuleOutcome.FAILED
