"""Rules about the scores: the thresholds, the n-gram baseline, the model in production."""

from __future__ import annotations

import numpy as np

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import Comparison, EvaluationRecord, RuleOutcome, RuleResult, Score
from mlrun_assets.stages.decision.results import measured, off, passed_if
from mlrun_assets.statistics import PairedDifference, rows_to_settle, scarce_label, told_p


def min_accuracy(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test accuracy reaches ``deployment.min_accuracy``."""
    limit = config.min_accuracy
    return _threshold("min_accuracy", "accuracy", evaluation.test.accuracy, limit, config)


def min_f1(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The test F1 reaches ``deployment.min_f1``."""
    name = f"{evaluation.f1_kind}-F1"
    return _threshold("min_f1", name, evaluation.f1, config.min_f1, config)


def beats_baseline(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """The model is not surely worse than one that trains in seconds."""
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
        says = f"not shown to beat a model that trains in seconds: {shown}"
    result = measured("beats_baseline", outcome, says, difference, 0.0)
    return _with_rows_needed(result, comparison, evaluation)


def versus_production(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """What ``deployment.policy`` asks for against the model in production holds.

    It speaks for the guards as well where production can't be compared: that is never a silent
    pass, unless they are turned off too.
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
            f"{comparison.rows:,} test rows do not tell whether it is {_POLICY_SAYS[policy]}: "
            f"{_points(difference)}"
        ),
    }[outcome]
    says += _mcnemar(comparison)
    result = measured("versus_production", outcome, says, difference, _limit(config))
    return _with_rows_needed(result, comparison, evaluation)


def judge_difference(config: DeploymentConfig, difference: Score) -> RuleOutcome:
    """What ``deployment.policy`` says to a difference of F1, challenger less production."""
    if config.policy == "no_worse":
        return passed_if(difference.value >= 0)
    if difference.low > _limit(config):
        return RuleOutcome.PASSED
    shown = difference.high < _limit(config)
    return RuleOutcome.FAILED if shown else RuleOutcome.INCONCLUSIVE


def _limit(config: DeploymentConfig) -> float:
    return -config.margin if config.policy == "non_inferior" else 0.0


def _with_rows_needed(
    result: RuleResult, comparison: Comparison, evaluation: EvaluationRecord
) -> RuleResult:
    """``result`` and, where these rows do not tell, how many would, or of which label."""
    difference, limit = comparison.f1_difference, result.limit
    if result.outcome is not RuleOutcome.INCONCLUSIVE or difference is None or limit is None:
        return result
    interval = PairedDifference(difference.value, difference.low, difference.high)
    needed = rows_to_settle(comparison.rows, interval, limit, evaluation.confidence)
    return result.model_copy(
        update={"rows_needed": needed, "scarce_label": _scarce_label(evaluation)}
    )


def _scarce_label(evaluation: EvaluationRecord) -> str | None:
    """The label with so few test rows that the F1 hangs on them."""
    if evaluation.f1_kind != "macro":
        return None
    per_class = evaluation.test.per_class
    scarce = scarce_label(np.array([one.support for one in per_class]))
    return None if scarce is None else per_class[scarce].label


_POLICY_SAYS = {
    "non_inferior": "no worse than production by the margin",
    "superior": "better than production",
    "no_worse": "no worse than production on these rows",
}


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
    """Three, or as many as tell the two apart: 0.850 is not below 0.850."""
    differ = (n for n in range(3, 7) if f"{value:.{n}f}" != f"{limit:.{n}f}")
    return next(differ, 3)


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
        f"{comparison.only_other_right} only production (McNemar p {told_p(comparison.mcnemar_p)})"
    )
