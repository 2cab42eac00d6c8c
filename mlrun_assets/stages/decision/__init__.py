"""Stage ``deployment_decision``: rules in a table, a verdict, and what would change it.

Every rule is a pure function from what was measured to a `RuleResult`:

    scores.py     thresholds, the n-gram baseline, the model in production
    guards.py     single labels, slices, the wear of the test split
    artefact.py   what was exported: parity, latency, size
    table.py      each rule in words
    verdict.py    from the rules to a verdict and the next steps
"""

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import DecisionRecord, EvaluationRecord, ExportRecord, RuleResult
from mlrun_assets.stages.decision import artefact, guards, scores
from mlrun_assets.stages.decision.scores import judge_difference
from mlrun_assets.stages.decision.table import DECISIVE, EXPORT_RULES, RULES, SCORE_RULES
from mlrun_assets.stages.decision.verdict import blocked, conclude

__all__ = [
    "DECISIVE",
    "EXPORT_RULES",
    "RULES",
    "SCORE_RULES",
    "blocked",
    "decide",
    "judge_difference",
    "judge_export",
    "judge_scores",
]


def decide(
    evaluation: EvaluationRecord, export: ExportRecord, config: DeploymentConfig, experiment: str
) -> DecisionRecord:
    """Apply all rules; ``experiment`` is the id that ``promote`` takes."""
    rules = (*judge_scores(evaluation, config), *judge_export(export, config))
    return conclude(rules, config, experiment)


def judge_scores(evaluation: EvaluationRecord, config: DeploymentConfig) -> tuple[RuleResult, ...]:
    """The rules about the scores, in the order of the table."""
    return (
        scores.min_accuracy(evaluation, config),
        scores.min_f1(evaluation, config),
        scores.beats_baseline(evaluation, config),
        scores.versus_production(evaluation, config),
        guards.class_guard(evaluation, config),
        guards.slice_guard(evaluation, config),
        guards.test_reuse(evaluation),
    )


def judge_export(export: ExportRecord, config: DeploymentConfig) -> tuple[RuleResult, ...]:
    """The rules about what would be deployed, in the order of the table."""
    return (
        artefact.export_parity(export),
        artefact.latency(export, config),
        artefact.size(export, config),
    )
