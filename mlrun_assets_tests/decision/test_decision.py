from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.decision.verdict import RULES, blocked, decide
from mlrun_assets.records import (
    DecisionRecord,
    EvaluationRecord,
    RuleOutcome,
    RuleResult,
    Score,
    Verdict,
)
from mlrun_assets_tests.examples import (
    comparison,
    evaluation_record,
    export_record,
    score,
    version_record,
)


def decision(evaluation: EvaluationRecord, agreement: float = 1.0, **config: Any) -> DecisionRecord:
    return decide(evaluation, export_record(agreement), DeploymentConfig(**config), "exp_1")


def rule(record: DecisionRecord, name: str) -> RuleResult:
    return next(result for result in record.rules if result.rule == name)


def against_production(low: float, value: float, high: float) -> EvaluationRecord:
    difference = Score(value=value, low=low, high=high)
    return evaluation_record(production=comparison(difference, "exp_0"))


def test_every_rule_holds() -> None:
    record = decision(evaluation_record())
    assert record.verdict is Verdict.APPROVED
    assert not record.deploys
    assert "mlrun-assets promote exp_1" in record.next_steps[0]
    assert [result.rule for result in record.rules] == list(RULES)
    assert rule(record, "versus_production").outcome is RuleOutcome.OFF


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize(("accuracy", "verdict"), [(0.9, "UNCHANGED"), (0.7, "REJECTED")])
@pytest.mark.parametrize("with_card", [True, False])
def test_the_model_in_production_is_not_compared_with_itself(
    compared: bool, accuracy: float, verdict: str, with_card: bool
) -> None:
    export = export_record()
    digests = {"digest": "sha256:card", "export_digest": export.digest}
    champion = version_record(**digests if with_card else {"digest": export.digest})
    evaluation = evaluation_record(accuracy, 0.9)
    if compared:
        production = comparison(score(0.0, 0.1), champion.version)
        evaluation = evaluation.model_copy(update={"production": production})
    rules = DeploymentConfig(auto_deploy=True)
    record = decide(evaluation, export, rules, "exp_2", champion)
    assert (record.verdict, record.deploys) == (verdict, False)
    assert record.same_as == champion.version
    assert not any("promote" in step for step in record.next_steps)
    for name in ("versus_production", "class_guard", "slice_guard"):
        assert rule(record, name).outcome is RuleOutcome.OFF
        assert champion.version in rule(record, name).sentence
    other = champion.model_copy(update={"digest": "sha256:other", "export_digest": None})
    compared_with = decide(evaluation, export, rules, "exp_2", other)
    assert compared_with.verdict != "UNCHANGED" and compared_with.same_as is None


@pytest.mark.parametrize(
    ("accuracy", "f1", "failed"), [(0.84, 0.9, "min_accuracy"), (0.9, 0.81, "min_f1")]
)
def test_a_threshold_that_is_missed_rejects(accuracy: float, f1: float, failed: str) -> None:
    record = decision(evaluation_record(accuracy, f1), auto_deploy=True)
    assert record.verdict is Verdict.REJECTED
    assert not record.deploys
    assert rule(record, failed).outcome is RuleOutcome.FAILED
    assert "is below" in record.sentence
    assert any("--reason" in step for step in record.next_steps)


def test_gate_on_the_lower_bound() -> None:
    evaluation = evaluation_record(0.89, 0.89)
    assert decision(evaluation).verdict is Verdict.APPROVED
    strict = decision(evaluation, gate_on="ci_lower")
    assert strict.verdict is Verdict.REJECTED
    assert rule(strict, "min_accuracy").value == pytest.approx(0.84)


@pytest.mark.parametrize(
    ("difference", "mode", "outcome", "verdict"),
    [
        (score(0.1, 0.05), "advice", RuleOutcome.PASSED, Verdict.APPROVED),
        (score(0.0, 0.05), "advice", RuleOutcome.WARNED, Verdict.APPROVED),
        (score(0.0, 0.05), "strict", RuleOutcome.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (score(-0.1, 0.05), "advice", RuleOutcome.FAILED, Verdict.REJECTED),
        (score(-0.1, 0.05), "off", RuleOutcome.OFF, Verdict.APPROVED),
    ],
)
def test_baseline(difference: Score, mode: str, outcome: RuleOutcome, verdict: Verdict) -> None:
    record = decision(evaluation_record(baseline=difference), beats_baseline=mode)
    assert rule(record, "beats_baseline").outcome is outcome
    assert record.verdict is verdict


@pytest.mark.parametrize(
    ("policy", "interval", "outcome"),
    [
        ("non_inferior", (-0.01, 0.01, 0.03), RuleOutcome.PASSED),
        ("non_inferior", (-0.03, 0.01, 0.05), RuleOutcome.INCONCLUSIVE),
        ("non_inferior", (-0.09, -0.05, -0.03), RuleOutcome.FAILED),
        ("superior", (0.01, 0.03, 0.05), RuleOutcome.PASSED),
        ("superior", (-0.01, 0.03, 0.05), RuleOutcome.INCONCLUSIVE),
        ("superior", (-0.05, -0.03, -0.01), RuleOutcome.FAILED),
        ("no_worse", (-0.05, 0.0, 0.05), RuleOutcome.PASSED),
        ("no_worse", (-0.05, -0.001, 0.05), RuleOutcome.FAILED),
        ("off", (-0.9, -0.8, -0.7), RuleOutcome.OFF),
    ],
)
def test_policies_against_production(
    policy: str, interval: tuple[float, float, float], outcome: RuleOutcome
) -> None:
    record = decision(against_production(*interval), policy=policy)
    assert rule(record, "versus_production").outcome is outcome


def test_production_that_can_not_be_compared_is_never_a_silent_pass() -> None:
    """`policy: off` turns off one rule: the guards still can't say that no label has lost."""
    evaluation = evaluation_record(production=comparison(None, "exp_0"))
    assert decision(evaluation).sentence == "production knows other labels"
    record = decision(evaluation, auto_deploy=True, policy="off")
    assert record.verdict is Verdict.INCOMPARABLE
    assert not record.deploys
    assert "other labels (deployment.max_recall_loss: 1 turns off" in record.sentence
    for guard in ("class_guard", "slice_guard"):
        assert rule(record, guard).outcome is RuleOutcome.OFF
        assert "can't be compared" in rule(record, guard).sentence
    nothing_asked = decision(evaluation, auto_deploy=True, policy="off", max_recall_loss=1.0)
    assert nothing_asked.verdict is Verdict.APPROVED


def test_a_value_that_rounds_to_its_limit_is_told_apart_from_it() -> None:
    below = decision(evaluation_record(accuracy=0.8497), min_accuracy=0.85)
    assert rule(below, "min_accuracy").sentence == "test accuracy 0.8497 is below 0.8500"
    equal = decision(evaluation_record(accuracy=0.85), min_accuracy=0.85)
    assert rule(equal, "min_accuracy").outcome is RuleOutcome.PASSED
    assert rule(equal, "min_accuracy").sentence == "test accuracy 0.850 reaches 0.850"


def test_an_export_that_answers_otherwise_rejects() -> None:
    record = decision(evaluation_record(), agreement=0.99)
    assert record.verdict is Verdict.REJECTED
    assert rule(record, "export_parity").outcome is RuleOutcome.FAILED


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-0.2, 0.2),
    st.sampled_from(["advice", "strict", "off"]),
    st.sampled_from(["non_inferior", "superior", "no_worse", "off"]),
)
def test_only_an_approval_deploys(
    accuracy: float, f1: float, difference: float, baseline: str, policy: str
) -> None:
    evaluation = evaluation_record(
        accuracy, f1, score(difference), comparison(score(difference), "exp_0")
    )
    record = decision(evaluation, auto_deploy=True, beats_baseline=baseline, policy=policy)
    assert record.deploys == (record.verdict is Verdict.APPROVED)
    decisive = {RuleOutcome.FAILED, RuleOutcome.INCONCLUSIVE, RuleOutcome.INCOMPARABLE}
    assert record.deploys == (not decisive & {result.outcome for result in record.rules})


def test_a_label_with_few_rows_is_what_more_rows_are_wanted_of() -> None:
    evaluation = against_production(-0.2, 0.0, 0.2)
    first, *others = evaluation.test.per_class
    per_class = (first.model_copy(update={"support": 1}), *others)
    test = evaluation.test.model_copy(update={"per_class": per_class})
    record = decision(evaluation.model_copy(update={"test": test}))
    assert rule(record, "versus_production").scarce_label == first.label
    assert f"label test rows of {first.label} first" in record.next_steps[0]
    weighted = evaluation.model_copy(update={"test": test, "f1_kind": "weighted"})
    assert rule(decision(weighted), "versus_production").scarce_label is None


def test_what_is_inconclusive_says_how_many_rows_would_tell() -> None:
    record = decision(against_production(-0.03, 0.01, 0.05))
    assert record.verdict is Verdict.INCONCLUSIVE
    needed = rule(record, "versus_production").rows_needed
    # The interval reaches 0.04 below; 0.03 is left to the margin, and the power takes its part.
    assert needed == pytest.approx(100 * (0.04 * (1.96 + 0.84) / 1.96 / 0.03) ** 2, rel=0.01)
    assert any(f"about {needed:,}" in step for step in record.next_steps)
    assert any("--reason" in step for step in record.next_steps)


def test_a_difference_at_its_limit_is_not_settled_by_rows() -> None:
    record = decision(against_production(-0.06, -0.02, 0.02))
    assert rule(record, "versus_production").rows_needed is None
    assert any("will not settle" in step for step in record.next_steps)


def test_data_that_blocks_is_a_verdict_that_never_deploys() -> None:
    record = blocked("schema: 3 rows")
    assert record.verdict is Verdict.BLOCKED
    assert not record.deploys
    assert "schema: 3 rows" in record.sentence
