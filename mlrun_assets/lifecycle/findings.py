"""What a run found that someone should mend, as items of tech debt."""

from __future__ import annotations

from mlrun_assets.experiment_store import Experiment
from mlrun_assets.records import (
    CheckOutcome,
    DatasetRecord,
    DecisionRecord,
    QualityCheck,
    RuleOutcome,
    RuleResult,
    Severity,
    TrainingPlan,
)
from mlrun_assets.stages.decision import DECISIVE, RULES
from mlrun_assets.stages.plan import ADVICE_TOPICS
from mlrun_assets.stages.tech_debt import DebtIssue


def find_issues(experiment: Experiment) -> tuple[list[DebtIssue], set[str]]:
    """The issues of a run, and the areas that it looked at.

    A stage that the run did not reach was not looked at: its old issues stay open.
    """
    issues: list[DebtIssue] = []
    examined: set[str] = set()
    dataset = experiment.find(DatasetRecord)
    if dataset:
        ran = [check for check in dataset.checks if check.outcome is not CheckOutcome.OFF]
        examined |= {f"data/{check.name}" for check in ran}
        issues += [_data_issue(check) for check in ran if check.outcome is CheckOutcome.FAILED]
    plan = experiment.find(TrainingPlan)
    if plan:
        examined |= {f"training/{topic}" for topic in ADVICE_TOPICS}
        issues += [
            DebtIssue(f"training/{advice.topic}", advice.issue, "Low", advice.sentence)
            for advice in plan.advice
        ]
    decision = experiment.find(DecisionRecord)
    if decision:
        examined |= {
            f"decision/{rule.rule}"
            for rule in decision.rules
            if rule.outcome is not RuleOutcome.OFF
        }
        issues += [
            _rule_issue(rule)
            for rule in decision.rules
            if rule.outcome in DECISIVE or rule.outcome is RuleOutcome.WARNED
        ]
    return issues, examined


def _data_issue(check: QualityCheck) -> DebtIssue:
    blocks = check.severity is Severity.ERROR
    return DebtIssue(
        area=f"data/{check.name}",
        description=f"Data check {check.name} {'blocks' if blocks else 'warns'}",
        impact="High" if blocks else "Medium",
        detail=check.message,
    )


def _rule_issue(rule: RuleResult) -> DebtIssue:
    return DebtIssue(
        area=f"decision/{rule.rule}",
        description=RULES[rule.rule].issue,
        impact="High" if rule.outcome in DECISIVE else "Medium",
        detail=rule.sentence,
    )
