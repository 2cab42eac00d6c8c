"""Stage ``deployment_decision``: rules in a table, a verdict, and what would change it.

Every rule is a pure function from what was measured to a `RuleResult`.
"""

from __future__ import annotations

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import (
    Comparison,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    RuleOutcome,
    RuleResult,
    Score,
    Verdict,
)

MIN_AGREEMENT = 0.995


def decide(
    evaluation: EvaluationRecord, export: ExportRecord, config: DeploymentConfig, experiment: str
) -> DecisionRecord:
    """Apply all rules; ``experiment`` is the id that ``promote`` takes."""
    rules = (*judge_scores(evaluation, config), export_parity(export))
    verdict = _verdict(rules)
    deploys = verdict is Verdict.APPROVED and config.auto_deploy
    return DecisionRecord(
        verdict=verdict,
        sentence=_sentence(verdict, rules),
        rules=rules,
        auto_deploy=config.auto_deploy,
        deploys=deploys,
        next_steps=_next_steps(verdict, rules, deploys, experiment),
    )


def judge_scores(evaluation: EvaluationRecord, config: DeploymentConfig) -> tuple[RuleResult, ...]:
    """The rules about the scores, in the order of the table."""
    return (
        min_accuracy(evaluation, config),
        min_f1(evaluation, config),
        beats_baseline(evaluation, config),
        versus_production(evaluation, config),
    )


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
        return _off("beats_baseline", "turned off in deployment.beats_baseline")
    shown = _points(difference)
    if difference.high < 0:
        outcome, says = RuleOutcome.FAILED, f"shown to be worse than the n-gram baseline: {shown}"
    elif difference.low > 0:
        outcome, says = RuleOutcome.PASSED, f"shown to beat the n-gram baseline: {shown}"
    else:
        outcome = RuleOutcome.INCONCLUSIVE if mode == "strict" else RuleOutcome.WARNED
        says = f"not shown to beat a model that trains in seconds: {shown}"
    return _compared("beats_baseline", outcome, says, difference, 0.0)


def versus_production(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """What ``deployment.policy`` asks for against the model in production holds."""
    policy, comparison = config.policy, evaluation.production
    if policy == "off":
        return _off("versus_production", "turned off in deployment.policy")
    if comparison is None:
        return _off("versus_production", "nothing is in production yet")
    difference = comparison.f1_difference
    if not comparison.comparable or difference is None:
        return RuleResult(
            rule="versus_production",
            outcome=RuleOutcome.INCOMPARABLE,
            value=None,
            limit=None,
            sentence=comparison.reason,
        )
    limit = -config.margin if policy == "non_inferior" else 0.0
    outcome = _against(policy, difference, limit)
    says = {
        RuleOutcome.PASSED: f"{_POLICY_SAYS[policy]}: {_points(difference)}",
        RuleOutcome.FAILED: f"worse than production: {_points(difference)}",
        RuleOutcome.INCONCLUSIVE: (
            f"{comparison.rows:,} test rows do not tell whether it is {_POLICY_SAYS[policy]}: "
            f"{_points(difference)}"
        ),
    }[outcome]
    says += _mcnemar(comparison)
    return _compared("versus_production", outcome, says, difference, limit)


def export_parity(export: ExportRecord) -> RuleResult:
    """The exported model gives the checkpoint's labels."""
    agreement, rows = export.agreement, export.rows_compared
    passed = agreement >= MIN_AGREEMENT
    return RuleResult(
        rule="export_parity",
        outcome=RuleOutcome.PASSED if passed else RuleOutcome.FAILED,
        value=agreement,
        limit=MIN_AGREEMENT,
        sentence=f"a fresh process gives the checkpoint's label for {agreement:.1%} of {rows:,} "
        "val rows",
    )


_POLICY_SAYS = {
    "non_inferior": "no worse than production by the margin",
    "superior": "better than production",
    "no_worse": "no worse than production on these rows",
}


def _against(policy: str, difference: Score, limit: float) -> RuleOutcome:
    if policy == "no_worse":
        return RuleOutcome.PASSED if difference.value >= 0 else RuleOutcome.FAILED
    if difference.low > limit:
        return RuleOutcome.PASSED
    return RuleOutcome.FAILED if difference.high < limit else RuleOutcome.INCONCLUSIVE


def _threshold(
    rule: str, name: str, score: Score, limit: float, config: DeploymentConfig
) -> RuleResult:
    strict = config.gate_on == "ci_lower"
    gated = score.low if strict else score.value
    passed = gated >= limit
    what = f"the lower bound of the test {name}" if strict else f"test {name}"
    return RuleResult(
        rule=rule,
        outcome=RuleOutcome.PASSED if passed else RuleOutcome.FAILED,
        value=gated,
        limit=limit,
        low=score.low,
        high=score.high,
        sentence=f"{what} {gated:.3f} {'reaches' if passed else 'is below'} {limit:.3f}",
    )


def _compared(
    rule: str, outcome: RuleOutcome, sentence: str, difference: Score, limit: float
) -> RuleResult:
    return RuleResult(
        rule=rule,
        outcome=outcome,
        value=difference.value,
        limit=limit,
        low=difference.low,
        high=difference.high,
        sentence=sentence,
    )


def _off(rule: str, sentence: str) -> RuleResult:
    return RuleResult(rule=rule, outcome=RuleOutcome.OFF, value=None, limit=None, sentence=sentence)


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
        f"{comparison.only_other_right} only production (McNemar p {comparison.mcnemar_p:.3f})"
    )


def _verdict(rules: tuple[RuleResult, ...]) -> Verdict:
    outcomes = {rule.outcome for rule in rules}
    if RuleOutcome.FAILED in outcomes:
        return Verdict.REJECTED
    if RuleOutcome.INCOMPARABLE in outcomes:
        return Verdict.INCOMPARABLE
    return Verdict.INCONCLUSIVE if RuleOutcome.INCONCLUSIVE in outcomes else Verdict.APPROVED


def _sentence(verdict: Verdict, rules: tuple[RuleResult, ...]) -> str:
    decisive = {
        Verdict.REJECTED: RuleOutcome.FAILED,
        Verdict.INCOMPARABLE: RuleOutcome.INCOMPARABLE,
        Verdict.INCONCLUSIVE: RuleOutcome.INCONCLUSIVE,
    }.get(verdict)
    if decisive is None:
        warned = sum(rule.outcome is RuleOutcome.WARNED for rule in rules)
        return "every rule holds" + (f", {warned} with a warning" if warned else "")
    return "; ".join(rule.sentence for rule in rules if rule.outcome is decisive)


def _next_steps(
    verdict: Verdict, rules: tuple[RuleResult, ...], deploys: bool, experiment: str
) -> tuple[str, ...]:
    if deploys:
        return (
            "The asset production_model deploys it; `mlrun-assets rollback --reason WHY` restores "
            "the model before it.",
        )
    promote = f"mlrun-assets promote {experiment}"
    if verdict is Verdict.APPROVED:
        return (f"Deploy it with `{promote}`, or set deployment.auto_deploy for the next run.",)
    steps = [_REMEDIES[rule.rule] for rule in rules if rule.outcome in _DECISIVE]
    steps.append(f"A person can deploy it all the same, with a reason: `{promote} --reason WHY`.")
    return tuple(dict.fromkeys(steps))


_DECISIVE = (RuleOutcome.FAILED, RuleOutcome.INCONCLUSIVE, RuleOutcome.INCOMPARABLE)
_REMEDIES = {
    "min_accuracy": "Label more rows of the labels with the lowest recall, then run again.",
    "min_f1": "Label more rows of the labels with the lowest F1, then run again.",
    "beats_baseline": "Deploy nothing heavier than the n-gram model until the encoder beats it: "
    "more rows, another encoder, or longer training.",
    "versus_production": "Label more test rows so that the difference can be told, or compare on "
    "the same label set.",
    "export_parity": "Export again, and compare the package versions of the two processes.",
}
