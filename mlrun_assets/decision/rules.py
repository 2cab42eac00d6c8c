"""The rules of the decision: one function per rule, from the records to value, limit and outcome.

To add a rule: a function here, its texts in `verdict.SCORE_RULES` or `EXPORT_RULES`, its call in
`verdict.judge_scores` or `judge_export`, and its key in `config.sections.DeploymentConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import (
    MIN_AGREEMENT,
    MIN_ROWS_JUDGED,
    Comparison,
    EvaluationRecord,
    ExportRecord,
    RuleOutcome,
    RuleResult,
    Score,
    Scores,
    SliceComparison,
)
from mlrun_assets.statistics import PairedDifference, formatted_p, rows_to_settle, scarce_label

# The thresholds


def min_accuracy(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test accuracy reaches ``deployment.min_accuracy``."""
    limit = config.min_accuracy
    return _threshold("min_accuracy", "accuracy", evaluation.test.accuracy, limit, config)


def min_f1(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test F1 reaches ``deployment.min_f1``."""
    name = f"{evaluation.f1_kind}-F1"
    return _threshold("min_f1", name, evaluation.f1, config.min_f1, config)


def _threshold(
    rule: str, name: str, score: Score, limit: float, config: DeploymentConfig
) -> RuleResult:
    strict = config.gate_on == "ci_lower"
    gated = score.low if strict else score.value
    what = f"the lower bound of the test {name}" if strict else f"test {name}"
    outcome = passed_if(gated >= limit)
    says = "reaches" if outcome is RuleOutcome.PASSED else "is below"
    digits = _digits_that_differ(gated, limit)
    shown = Score(value=gated, low=score.low, high=score.high)
    sentence = f"{what} {gated:.{digits}f} {says} {limit:.{digits}f}"
    return measured(rule, outcome, sentence, shown, limit)


def _digits_that_differ(value: float, limit: float) -> int:
    """Three digits, or as many as make the two differ: 0.850 is not below 0.850."""
    differ = (n for n in range(3, 7) if f"{value:.{n}f}" != f"{limit:.{n}f}")
    return next(differ, 3)


# The n-gram baseline and the model in production


def beats_baseline(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The model is shown to beat the n-gram baseline."""
    mode, comparison = config.beats_baseline, evaluation.baseline
    difference = comparison.f1_difference
    if mode == "off" or difference is None:
        return off("beats_baseline", "turned off in deployment.beats_baseline")
    shown = _points(difference)
    if difference.high < 0:
        outcome, says = RuleOutcome.FAILED, f"shown to be worse than the n-gram baseline: {shown}"
    elif difference.low > 0:
        outcome, says = RuleOutcome.PASSED, f"shown to beat the n-gram baseline: {shown}"
    else:
        outcome = RuleOutcome.INCONCLUSIVE if mode == "strict" else RuleOutcome.WARNED
        says = f"not shown to beat the n-gram baseline: {shown}"
    result = measured("beats_baseline", outcome, says, difference, 0.0)
    return _with_rows_needed(result, comparison, evaluation)


def versus_production(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The challenger satisfies ``deployment.policy`` against the model in production.

    If production can't be compared, this rule reports it for the guards too, so that they never
    pass silently, unless they are turned off as well.
    """
    policy, comparison = config.policy, evaluation.production
    if comparison is None:
        return off("versus_production", "nothing is in production yet")
    difference = comparison.f1_difference
    incomparable = not comparison.comparable or difference is None
    if incomparable and (policy != "off" or config.max_recall_loss < 1):
        guarded = " (deployment.max_recall_loss: 1 turns off what compares labels and slices)"
        return RuleResult(
            rule="versus_production",
            outcome=RuleOutcome.INCOMPARABLE,
            value=None,
            limit=None,
            sentence=comparison.reason + (guarded if policy == "off" else ""),
        )
    if policy == "off" or difference is None:
        return off("versus_production", "turned off in deployment.policy")
    outcome = judge_difference(config, difference)
    says = {
        RuleOutcome.PASSED: f"{_POLICY_SAYS[policy]}: {_points(difference)}",
        RuleOutcome.FAILED: f"worse than production: {_points(difference)}",
        RuleOutcome.INCONCLUSIVE: (
            f"{comparison.rows:,} test rows do not show whether it is {_POLICY_SAYS[policy]}: "
            f"{_points(difference)}"
        ),
    }[outcome]
    says += _mcnemar(comparison)
    result = measured("versus_production", outcome, says, difference, _limit(config))
    return _with_rows_needed(result, comparison, evaluation)


def judge_difference(config: DeploymentConfig, difference: Score) -> RuleOutcome:
    """Apply ``deployment.policy`` to an F1 difference, challenger minus production."""
    if config.policy == "no_worse":
        return passed_if(difference.value >= 0)
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


def _with_rows_needed(
    result: RuleResult, comparison: Comparison, evaluation: EvaluationRecord
) -> RuleResult:
    """``result``; if it is inconclusive, with the number of rows that would settle it."""
    difference, limit = comparison.f1_difference, result.limit
    if result.outcome is not RuleOutcome.INCONCLUSIVE or difference is None or limit is None:
        return result
    interval = PairedDifference(difference.value, difference.low, difference.high)
    needed = rows_to_settle(comparison.rows, interval, limit, evaluation.confidence)
    return result.model_copy(
        update={"rows_needed": needed, "scarce_label": _scarce_label(evaluation)}
    )


def _scarce_label(evaluation: EvaluationRecord) -> str | None:
    """The label whose few test rows dominate the variance of macro-F1; None: there is none."""
    if evaluation.f1_kind != "macro":
        return None
    per_class = evaluation.test.per_class
    scarce = scarce_label(np.array([one.support for one in per_class]))
    return None if scarce is None else per_class[scarce].label


def _points(difference: Score) -> str:
    return (
        f"{difference.value * 100:+.1f} points of F1 "
        f"[{difference.low * 100:+.1f}, {difference.high * 100:+.1f}]"
    )


def _mcnemar(comparison: Comparison) -> str:
    if comparison.mcnemar_p is None:
        return ""
    return (
        f"; {comparison.only_challenger_right} rows only this model gets right, "
        f"{comparison.only_other_right} only production "
        f"(McNemar p {formatted_p(comparison.mcnemar_p)})"
    )


# Labels and slices against production


def class_guard(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """No label loses too much recall against production, and every label is predicted."""
    losses = _losses("class_guard", "label", evaluation, config)
    outcome, silent = _never_predicted(evaluation.test)
    if not silent:
        return losses
    if losses.outcome in (RuleOutcome.OFF, RuleOutcome.PASSED):
        return RuleResult(
            rule="class_guard", outcome=outcome, value=None, limit=None, sentence=silent
        )
    worst = min(outcome, losses.outcome, key=_SEVEREST_FIRST.index)
    return losses.model_copy(update={"outcome": worst, "sentence": f"{silent}; {losses.sentence}"})


def slice_guard(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """No slice loses too many of its rows against production."""
    return _losses("slice_guard", "slice", evaluation, config)


def _losses(
    rule: str, kind: str, evaluation: EvaluationRecord, config: DeploymentConfig
) -> RuleResult:
    limit, production = config.max_recall_loss, evaluation.production
    if limit >= 1:
        return off(rule, "turned off in deployment.max_recall_loss")
    if production is None:
        return off(rule, "there is no model in production to compare with")
    if not production.comparable:
        return off(rule, "production can't be compared, as versus_production says")
    parts = production.labels if kind == "label" else production.slices
    judged = [part for part in parts if part.rows >= MIN_ROWS_JUDGED]
    if not judged:
        return off(rule, f"no {kind} has {MIN_ROWS_JUDGED} test rows: insufficient evidence")
    outcome, named = grade_losses(judged, limit)
    says = f"{_SAYS[outcome].format(limit)}: {', '.join(map(_recalls, named))}"
    few = len(parts) - len(judged)
    says += f"; {few} with fewer than {MIN_ROWS_JUDGED} rows not judged" if few else ""
    result = measured(rule, outcome, says, named[0].loss, limit)
    return result.model_copy(
        update={
            "rows_needed": _rows_needed(
                result, named, production.joint_confidence or evaluation.confidence
            )
        }
    )


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
    for outcome, found in grades:
        if found:
            return outcome, found
    return RuleOutcome.PASSED, by_loss[:1]


_SEVEREST_FIRST = (RuleOutcome.FAILED, RuleOutcome.INCONCLUSIVE, RuleOutcome.WARNED)
_SAYS = {
    RuleOutcome.FAILED: "shown to lose more than {:.2f} recall against production",
    RuleOutcome.INCONCLUSIVE: "shown to lose recall against production, perhaps more than {:.2f}",
    RuleOutcome.WARNED: "lost more than {:.2f} recall, but the loss is not significant",
    RuleOutcome.PASSED: "largest recall loss against production (limit {:.2f})",
}


def _rows_needed(
    result: RuleResult, parts: Sequence[SliceComparison], confidence: float
) -> int | None:
    """Rows of the label or slice with the largest loss that would settle the rule."""
    if result.outcome is not RuleOutcome.INCONCLUSIVE or result.limit is None:
        return None
    loss = PairedDifference(parts[0].loss.value, parts[0].loss.low, parts[0].loss.high)
    return rows_to_settle(parts[0].rows, loss, result.limit, confidence)


def _recalls(part: SliceComparison) -> str:
    return f"{part.name} {part.other_recall:.2f} → {part.recall:.2f} of {part.rows:,} rows"


def _never_predicted(test: Scores) -> tuple[RuleOutcome, str]:
    """The outcome for labels that have test rows and are never predicted; "" if there is none.

    With 30 rows and a recall of 0.2, a label is predicted at least once 999 times in 1,000.
    """
    silent = [one for one in test.per_class if one.support and not one.predicted]
    enough = any(one.support >= MIN_ROWS_JUDGED for one in silent)
    named = ", ".join(f"{one.label} ({one.support:,} test rows)" for one in silent)
    outcome = RuleOutcome.FAILED if enough else RuleOutcome.WARNED
    return outcome, f"never predicted: {named}" if silent else ""


# Looks at the test split


def test_reuse(evaluation: EvaluationRecord) -> RuleResult:
    """The test split was used for at most ``evaluation.max_looks`` models."""
    use = evaluation.test_looks
    if use is None:
        return off("test_reuse", "how often the test split was used is not recorded")
    models = f"{use.looks:,} models have" if use.looks > 1 else "1 model has"
    says = f"{models} been judged on this test split, this one included"
    if use.used_up:
        says += f": it is used up, so all intervals are widened to {use.confidence:.2%} confidence"
    outcome = RuleOutcome.WARNED if use.used_up else RuleOutcome.PASSED
    return measured("test_reuse", outcome, says, float(use.looks), float(use.max_looks))


# The exported model


def export_parity(export: ExportRecord) -> RuleResult:
    """The exported model predicts the labels of the checkpoint."""
    agreement, rows = export.agreement, export.rows_compared
    says = f"a fresh process gives the checkpoint's label for {agreement:.1%} of {rows:,} val rows"
    return measured(
        "export_parity", passed_if(agreement >= MIN_AGREEMENT), says, agreement, MIN_AGREEMENT
    )


def latency(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The p95 latency of the fastest form is within ``deployment.max_latency_ms``."""
    forms = {"transformers": export.latency_ms_p95}
    forms |= {f"ONNX {one.precision}": one.latency_ms_p95 for one in export.onnx if one.kept}
    fastest = min(forms, key=forms.__getitem__)
    found, limit = forms[fastest], config.max_latency_ms
    says = f"the fastest form, {fastest}, has a p95 latency of {found:.1f} ms for one text"
    if limit is None:
        return off("latency", f"{says}; deployment.max_latency_ms is not set", found)
    return measured("latency", passed_if(found <= limit), says, found, limit)


def size(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The smallest form takes no more than ``deployment.max_size_mb``."""
    forms = {"transformers": export.size_bytes}
    forms |= {f"ONNX {one.precision}": one.size_bytes for one in export.onnx if one.kept}
    smallest = min(forms, key=forms.__getitem__)
    found, limit = forms[smallest] / 1e6, config.max_size_mb
    says = f"the smallest form, {smallest}, takes {found:.1f} MB"
    if limit is None:
        return off("size", f"{says}; deployment.max_size_mb is not set", found)
    return measured("size", passed_if(found <= limit), says, found, limit)


# Results


def measured(
    rule: str, outcome: RuleOutcome, sentence: str, value: Score | float, limit: float
) -> RuleResult:
    """The result of a rule that compares a value, with its interval if any, with a limit."""
    score = value if isinstance(value, Score) else None
    return RuleResult(
        rule=rule,
        outcome=outcome,
        value=score.value if score else value,
        limit=limit,
        low=score.low if score else None,
        high=score.high if score else None,
        sentence=sentence,
    )


def off(rule: str, sentence: str, value: float | None = None) -> RuleResult:
    """The result of a rule that is turned off or does not apply."""
    return RuleResult(
        rule=rule, outcome=RuleOutcome.OFF, value=value, limit=None, sentence=sentence
    )


def passed_if(holds: bool) -> RuleOutcome:
    """PASSED if ``holds``, else FAILED."""
    return RuleOutcome.PASSED if holds else RuleOutcome.FAILED
