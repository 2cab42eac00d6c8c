"""Rules about what a mean hides: single labels, slices of the test split, and its wear.

A loss beyond the limit fails a guard where the interval lies beyond it. Where a loss is shown, in
view of all parts that were looked at, but not that it is so large, the guard is inconclusive; where
chance explains it, it warns (docs/decisions/014 has how often equal models come to each).
"""

from __future__ import annotations

from collections.abc import Sequence

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import (
    MIN_ROWS_JUDGED,
    EvaluationRecord,
    PartComparison,
    RuleOutcome,
    RuleResult,
    Scores,
)
from mlrun_assets.stages.decision.results import measured, off
from mlrun_assets.statistics import PairedDifference, rows_to_settle


def class_guard(evaluation: EvaluationRecord, config: DeploymentConfig) -> RuleResult:
    """No label loses too much recall against production, and none is never predicted."""
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


def test_reuse(evaluation: EvaluationRecord) -> RuleResult:
    """The test split has not judged so many models that one of them looks good by chance."""
    use = evaluation.test_use
    if use is None:
        return off("test_reuse", "how often the test split was used is not recorded")
    models = f"{use.looks:,} models have" if use.looks > 1 else "1 model has"
    says = f"{models} been judged on this test split, this one included"
    if use.worn:
        says += f": it is worn, and all intervals are widened to {use.confidence:.2%} confidence"
    outcome = RuleOutcome.WARNED if use.worn else RuleOutcome.PASSED
    return measured("test_reuse", outcome, says, float(use.looks), float(use.max_looks))


_SEVEREST_FIRST = (RuleOutcome.FAILED, RuleOutcome.INCONCLUSIVE, RuleOutcome.WARNED)
_SAYS = {
    RuleOutcome.FAILED: "shown to lose more than {:.2f} recall against production",
    RuleOutcome.INCONCLUSIVE: "shown to lose recall against production, perhaps more than {:.2f}",
    RuleOutcome.WARNED: "measured to lose more than {:.2f} recall, which may be chance",
    RuleOutcome.PASSED: "the largest loss of recall against production, of {:.2f} that may be",
}


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
    says = f"{_SAYS[outcome].format(limit)}: {', '.join(map(_told, named))}"
    few = len(parts) - len(judged)
    says += f"; {few} with fewer than {MIN_ROWS_JUDGED} rows not judged" if few else ""
    result = measured(rule, outcome, says, named[0].loss, limit)
    return result.model_copy(
        update={
            "rows_needed": _rows_needed(
                result, named, production.parts_confidence or evaluation.confidence
            )
        }
    )


def grade_losses(
    parts: Sequence[PartComparison], limit: float
) -> tuple[RuleOutcome, list[PartComparison]]:
    """What the losses come to, and the parts that it is about, the largest loss first.

    Their intervals hold for all parts together, so what they show is not chance.
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


def _rows_needed(
    result: RuleResult, parts: Sequence[PartComparison], confidence: float
) -> int | None:
    """Rows of the part with the largest loss that would tell whether it is beyond the limit."""
    if result.outcome is not RuleOutcome.INCONCLUSIVE or result.limit is None:
        return None
    loss = PairedDifference(parts[0].loss.value, parts[0].loss.low, parts[0].loss.high)
    return rows_to_settle(parts[0].rows, loss, result.limit, confidence)


def _told(part: PartComparison) -> str:
    return f"{part.part} {part.other_recall:.2f} → {part.recall:.2f} of {part.rows:,} rows"


def _never_predicted(test: Scores) -> tuple[RuleOutcome, str]:
    """What follows from labels that have test rows and are never predicted; "" where none is.

    Of 30 rows a label with a recall of 0.2 would be predicted 999 times in 1,000.
    """
    silent = [one for one in test.per_class if one.support and not one.predicted]
    enough = any(one.support >= MIN_ROWS_JUDGED for one in silent)
    named = ", ".join(f"{one.label} ({one.support:,} test rows)" for one in silent)
    outcome = RuleOutcome.FAILED if enough else RuleOutcome.WARNED
    return outcome, f"never predicted: {named}" if silent else ""
