from __future__ import annotations

from typing import Any

import pytest

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.decision import rules
from mlrun_assets.decision.rules import class_guard, latency, size, slice_guard
from mlrun_assets.decision.verdict import decide
from mlrun_assets.records import (
    Acceptance,
    AcceptedRows,
    EvaluationRecord,
    JudgedAcceptance,
    LookCount,
    RuleOutcome,
    SliceComparison,
    Verdict,
)
from mlrun_assets_tests.examples import (
    comparison,
    evaluation_record,
    export_record,
    onnx_export,
    part_comparison,
    score,
)


def part(name: str, loss: float, half: float, rows: int = 60) -> SliceComparison:
    return part_comparison(name, score(loss, half), rows)


def against(**parts: tuple[SliceComparison, ...]) -> EvaluationRecord:
    production = comparison(score(0.03, 0.01), "exp_0").model_copy(update=parts)
    return evaluation_record(production=production)


def with_silent_label(evaluation: EvaluationRecord, support: int) -> EvaluationRecord:
    first, *others = evaluation.test.per_class
    silent = first.model_copy(update={"predicted": 0, "support": support})
    test = evaluation.test.model_copy(update={"per_class": (silent, *others)})
    return evaluation.model_copy(update={"test": test})


@pytest.mark.parametrize(
    ("loss", "half", "outcome"),
    [
        (0.25, 0.13, RuleOutcome.FAILED),
        (0.2, 0.15, RuleOutcome.INCONCLUSIVE),
        (0.13, 0.14, RuleOutcome.WARNED),
        (0.08, 0.06, RuleOutcome.PASSED),
        (0.0, 0.1, RuleOutcome.PASSED),
    ],
)
@pytest.mark.parametrize(("guard", "parts"), [(class_guard, "labels"), (slice_guard, "slices")])
def test_a_loss_of_recall(
    guard: Any, parts: str, loss: float, half: float, outcome: RuleOutcome
) -> None:
    evaluation = against(**{parts: (part("fine", 0.0, 0.1), part("sports", loss, half))})
    result = guard(evaluation, DeploymentConfig())
    assert result.outcome is outcome
    assert result.limit == 0.10
    assert (result.rows_needed is not None) == (outcome is RuleOutcome.INCONCLUSIVE)
    if outcome is not RuleOutcome.PASSED:
        assert "sports" in result.sentence
        assert "fine" not in result.sentence


def test_the_intervals_hold_together_and_are_not_widened_again() -> None:
    loss = part("sports", 0.15, 0.14)
    others = tuple(part(f"label {number}", 0.0, 0.1) for number in range(9))
    alone = class_guard(against(labels=(loss,)), DeploymentConfig())
    among_ten = class_guard(against(labels=(loss, *others)), DeploymentConfig())
    assert alone.outcome is among_ten.outcome is RuleOutcome.INCONCLUSIVE


def test_few_rows_judge_nobody() -> None:
    few = part("rare", 0.5, 0.3, rows=29)
    result = class_guard(against(labels=(few,)), DeploymentConfig())
    assert result.outcome is RuleOutcome.OFF
    assert "insufficient evidence" in result.sentence
    both = class_guard(against(labels=(few, part("b", 0.0, 0.1))), DeploymentConfig())
    assert both.outcome is RuleOutcome.PASSED
    assert "1 with fewer than 30 rows not judged" in both.sentence


def test_the_ngram_model_is_not_compared_with_itself() -> None:
    evaluation = evaluation_record(baseline=score(0.0)).model_copy(update={"chosen": "ngrams"})
    result = rules.beats_baseline(evaluation, DeploymentConfig(beats_baseline="strict"))
    assert result.outcome is RuleOutcome.OFF and "is the n-gram baseline" in result.sentence


def test_without_production_nothing_is_lost() -> None:
    assert slice_guard(evaluation_record(), DeploymentConfig()).outcome is RuleOutcome.OFF


@pytest.mark.parametrize(
    ("support", "outcome"), [(30, RuleOutcome.FAILED), (29, RuleOutcome.WARNED)]
)
def test_a_label_that_is_never_predicted(support: int, outcome: RuleOutcome) -> None:
    alone = class_guard(with_silent_label(evaluation_record(), support), DeploymentConfig())
    assert alone.outcome is outcome
    assert "never predicted: a" in alone.sentence
    fine = against(labels=(part("b", 0.0, 0.1),))
    beside = class_guard(with_silent_label(fine, support), DeploymentConfig())
    assert beside == alone, "what held is no reason"


def test_a_label_without_test_rows_need_not_be_predicted() -> None:
    result = class_guard(with_silent_label(evaluation_record(), 0), DeploymentConfig())
    assert result.outcome is RuleOutcome.OFF


def test_the_worse_of_two_findings_counts_and_rejects_a_model_that_is_better_on_the_whole() -> None:
    lost = with_silent_label(against(labels=(part("b", 0.4, 0.2),)), 5)
    record = decide(lost, export_record(), DeploymentConfig(auto_deploy=True), "exp_1")
    assert record.verdict is Verdict.REJECTED
    assert "never predicted: a" in record.sentence
    assert "b 0.90 → 0.50 of 60 rows" in record.sentence


@pytest.mark.parametrize(
    ("looks", "outcome"),
    [(1, RuleOutcome.PASSED), (10, RuleOutcome.PASSED), (11, RuleOutcome.WARNED)],
)
def test_a_worn_test_split_warns(looks: int, outcome: RuleOutcome) -> None:
    use = LookCount(looks=looks, max_looks=10, confidence=0.95)
    result = rules.test_reuse(evaluation_record().model_copy(update={"test_looks": use}))
    assert result.outcome is outcome
    assert (result.value, result.limit) == (looks, 10)


@pytest.mark.parametrize(("key", "found"), [("max_latency_ms", 8.0), ("max_size_mb", 23.0)])
def test_the_fastest_and_the_smallest_form_count(key: str, found: float) -> None:
    rule = latency if key == "max_latency_ms" else size
    onnx = onnx_export(latency_ms_p95=8.0, size_bytes=23_000_000)
    export = export_record().model_copy(
        update={"latency_ms_p95": 20.0, "size_bytes": 90_000_000, "onnx": onnx}
    )
    reached, missed = (rule(export, DeploymentConfig(**{key: found - less})) for less in (0, 0.1))
    assert (reached.outcome, reached.value, reached.limit) == (RuleOutcome.PASSED, found, found)
    assert "ONNX" in reached.sentence
    assert missed.outcome is RuleOutcome.FAILED
    unlimited = rule(export.model_copy(update={"onnx": None}), DeploymentConfig())
    assert (unlimited.outcome, unlimited.limit) == (RuleOutcome.OFF, None)
    assert unlimited.value == (20.0 if rule is latency else 90.0)
    assert "transformers" in unlimited.sentence and "is not set" in unlimited.sentence


@pytest.mark.parametrize(
    ("confidence", "coverage", "outcome"),
    [
        (0.8, 0.5, RuleOutcome.PASSED),
        (0.8, 0.49, RuleOutcome.FAILED),
        (None, 0.0, RuleOutcome.FAILED),
    ],
)
def test_enough_test_rows_are_accepted(
    confidence: float | None, coverage: float, outcome: RuleOutcome
) -> None:
    shown = Acceptance(min_precision=0.9, confidence=confidence, configured=True, rows=500)
    tested = AcceptedRows(confidence=0.8, rows=50, coverage=score(coverage), precision=score(0.9))
    each = JudgedAcceptance(shown=shown, test=tested if confidence else None)
    evaluation = evaluation_record().model_copy(update={"acceptance": (each,)})
    result = rules.min_coverage(evaluation, DeploymentConfig(min_precision=0.9, min_coverage=0.5))
    assert (result.outcome, result.value, result.limit) == (outcome, coverage, 0.5)
    unset = rules.min_coverage(evaluation, DeploymentConfig(min_precision=0.9))
    assert (unset.outcome, unset.value) == (RuleOutcome.OFF, coverage)
    none = rules.min_coverage(evaluation, DeploymentConfig())
    assert (none.outcome, none.value) == (RuleOutcome.OFF, None)
