"""From the rules to a verdict, its reason in one sentence, and what to do next."""

from __future__ import annotations

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import DecisionRecord, RuleOutcome, RuleResult, Verdict
from mlrun_assets.stages.decision.table import DECISIVE, GUARDS, RULES

# The first outcome that a rule has decides.
_VERDICTS = {
    RuleOutcome.FAILED: Verdict.REJECTED,
    RuleOutcome.INCOMPARABLE: Verdict.INCOMPARABLE,
    RuleOutcome.INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


def conclude(
    rules: tuple[RuleResult, ...], config: DeploymentConfig, experiment: str
) -> DecisionRecord:
    """The verdict that follows from ``rules``; only an approval with ``auto_deploy`` deploys."""
    found = {rule.outcome for rule in rules}
    decisive = next((outcome for outcome in _VERDICTS if outcome in found), None)
    verdict = _VERDICTS[decisive] if decisive else Verdict.APPROVED
    deploys = verdict is Verdict.APPROVED and config.auto_deploy
    return DecisionRecord(
        verdict=verdict,
        sentence=_sentence(decisive, rules),
        rules=rules,
        deploys=deploys,
        next_steps=_next_steps(verdict, rules, deploys, experiment),
    )


def blocked(why: str) -> DecisionRecord:
    """The verdict where the data does not meet the standards: there is no model to judge."""
    return DecisionRecord(
        verdict=Verdict.BLOCKED,
        sentence=f"the data does not meet the standards: {why}",
        rules=(),
        deploys=False,
        next_steps=(),
    )


def _sentence(decisive: RuleOutcome | None, rules: tuple[RuleResult, ...]) -> str:
    if decisive:
        return "; ".join(rule.sentence for rule in rules if rule.outcome is decisive)
    warned = sum(rule.outcome is RuleOutcome.WARNED for rule in rules)
    return "every rule holds" + (f", {warned} with a warning" if warned else "")


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
    steps = [_remedy(rule) for rule in rules if rule.outcome in DECISIVE]
    steps.append(f"A person can deploy it all the same, with a reason: `{promote} --reason WHY`.")
    return tuple(dict.fromkeys(steps))


def _remedy(rule: RuleResult) -> str:
    if rule.outcome is not RuleOutcome.INCONCLUSIVE:
        return RULES[rule.rule].remedy
    if rule.scarce_label is not None:
        return (
            f"To settle {rule.rule}, label test rows of {rule.scarce_label} first: it has so few "
            "that they weigh more than those of all other labels together."
        )
    if rule.rows_needed is None:
        return (
            f"More test rows hardly settle {rule.rule}: the difference lies so near its limit that "
            "a hundred times as many would not tell. Train a model that is better, or decide by "
            "hand."
        )
    part = " of the part that it names first" if rule.rule in GUARDS else ""
    return (
        f"To settle {rule.rule}, label test rows until there are about {rule.rows_needed:,}{part}: "
        "if the difference is what it seems, that many show it four times in five."
    )
