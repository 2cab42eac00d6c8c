from __future__ import annotations

from typing import Any

import pytest

from mlrun_assets import records
from mlrun_assets.config import DeploymentConfig
from mlrun_assets.decision import rules as guards
from mlrun_assets.decision.rules import class_guard, slice_guard
from mlrun_assets.decision.verdict import decide
from mlrun_assets.records import EvaluationRecord, RuleOutcome, Score, SliceComparison, Verdict
from mlrun_assets_tests.examples import comparison, evaluation_record, export_record, score


def part(name: str, loss: tuple[float, float, float], rows: int = 60) -> SliceComparison:
    low, value, high = loss
    interval = Score(value=value, low=low, high=high)
    return SliceComparison(
        name=name, rows=rows, recall=0.9 - value, other_recall=0.9, loss=interval
    )


def against(**parts: tuple[SliceComparison, ...]) -> EvaluationRecord:
    production = comparison(score(0.03, 0.01), "exp_0").model_copy(update=parts)
    return evaluation_record(production=production)


def with_silent_label(evaluation: EvaluationRecord, support: int) -> EvaluationRecord:
    first, *others = evaluation.test.per_class
    silent = first.model_copy(update={"predicted": 0, "support": support})
    test = evaluation.test.model_copy(update={"per_class": (silent, *others)})
    return evaluation.model_copy(update={"test": test})


@pytest.mark.parametrize(
    ("loss", "outcome"),
    [
        ((0.12, 0.25, 0.38), RuleOutcome.FAILED),
        ((0.05, 0.20, 0.35), RuleOutcome.INCONCLUSIVE),
        ((-0.01, 0.13, 0.27), RuleOutcome.WARNED),
        ((0.02, 0.08, 0.14), RuleOutcome.PASSED),
        ((-0.1, 0.0, 0.1), RuleOutcome.PASSED),
    ],
)
@pytest.mark.parametrize(("guard", "parts"), [(class_guard, "labels"), (slice_guard, "slices")])
def test_a_loss_of_recall(
    guard: Any, parts: str, loss: tuple[float, float, float], outcome: RuleOutcome
) -> None:
    evaluation = against(**{parts: (part("fine", (-0.1, 0.0, 0.1)), part("sports", loss))})
    result = guard(evaluation, DeploymentConfig())
    assert result.outcome is outcome
    assert result.limit == 0.10
    assert (result.rows_needed is not None) == (outcome is RuleOutcome.INCONCLUSIVE)
    if outcome is not RuleOutcome.PASSED:
        assert "sports" in result.sentence
        assert "fine" not in result.sentence


def test_the_intervals_hold_together_and_are_not_widened_again() -> None:
    loss = part("sports", (0.01, 0.15, 0.29))
    others = tuple(part(f"label {number}", (-0.1, 0.0, 0.1)) for number in range(9))
    alone = class_guard(against(labels=(loss,)), DeploymentConfig())
    among_ten = class_guard(against(labels=(loss, *others)), DeploymentConfig())
    assert alone.outcome is among_ten.outcome is RuleOutcome.INCONCLUSIVE


def test_few_rows_judge_nobody() -> None:
    few = part("rare", (0.2, 0.5, 0.8), rows=29)
    result = class_guard(against(labels=(few,)), DeploymentConfig())
    assert result.outcome is RuleOutcome.OFF
    assert "insufficient evidence" in result.sentence
    both = class_guard(against(labels=(few, part("b", (-0.1, 0.0, 0.1)))), DeploymentConfig())
    assert both.outcome is RuleOutcome.PASSED
    assert "1 with fewer than 30 rows not judged" in both.sentence


def test_any_loss_is_tolerated_where_the_config_says_so() -> None:
    lost = against(labels=(part("a", (0.7, 0.8, 0.9)),))
    assert class_guard(lost, DeploymentConfig(max_recall_loss=1.0)).outcome is RuleOutcome.OFF


def test_without_production_nothing_is_lost() -> None:
    assert slice_guard(evaluation_record(), DeploymentConfig()).outcome is RuleOutcome.OFF
    other_labels = evaluation_record(production=comparison(None, "exp_0"))
    assert class_guard(other_labels, DeploymentConfig()).outcome is RuleOutcome.OFF


@pytest.mark.parametrize(
    ("support", "outcome"), [(30, RuleOutcome.FAILED), (29, RuleOutcome.WARNED)]
)
def test_a_label_that_is_never_predicted(support: int, outcome: RuleOutcome) -> None:
    alone = class_guard(with_silent_label(evaluation_record(), support), DeploymentConfig())
    assert alone.outcome is outcome
    assert "never predicted: a" in alone.sentence
    fine = against(labels=(part("b", (-0.1, 0.0, 0.1)),))
    beside = class_guard(with_silent_label(fine, support), DeploymentConfig())
    assert beside == alone, "what held is no reason"


def test_a_label_without_test_rows_need_not_be_predicted() -> None:
    result = class_guard(with_silent_label(evaluation_record(), 0), DeploymentConfig())
    assert result.outcome is RuleOutcome.OFF


def test_the_worse_of_two_findings_counts() -> None:
    lost = against(labels=(part("b", (0.2, 0.4, 0.6)),))
    result = class_guard(with_silent_label(lost, 5), DeploymentConfig())
    assert result.outcome is RuleOutcome.FAILED
    assert "never predicted: a" in result.sentence and "b 0.90" in result.sentence


def test_a_guard_that_fails_rejects_a_model_that_is_better_on_the_whole() -> None:
    lost = against(labels=(part("b", (0.2, 0.4, 0.6)),))
    record = decide(lost, export_record(), DeploymentConfig(auto_deploy=True), "exp_1")
    assert record.verdict is Verdict.REJECTED
    assert "b 0.90 → 0.50 of 60 rows" in record.sentence


@pytest.mark.parametrize(
    ("looks", "outcome"),
    [(1, RuleOutcome.PASSED), (10, RuleOutcome.PASSED), (11, RuleOutcome.WARNED)],
)
def test_a_worn_test_split_warns(looks: int, outcome: RuleOutcome) -> None:
    use = records.LookCount(looks=looks, max_looks=10, confidence=0.95)
    result = guards.test_reuse(evaluation_record().model_copy(update={"test_looks": use}))
    assert result.outcome is outcome
    assert (result.value, result.limit) == (looks, 10)


def test_a_record_without_a_count_is_no_rule() -> None:
    assert guards.test_reuse(evaluation_record()).outcome is RuleOutcome.OFF
