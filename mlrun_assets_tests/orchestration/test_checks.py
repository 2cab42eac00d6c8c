"""Asset checks: their results follow from the records."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest

from mlrun_assets.config import DeploymentConfig, QualityConfig
from mlrun_assets.data.checks.suite import CHECKS
from mlrun_assets.decision.verdict import SCORE_RULES, judge_scores
from mlrun_assets.orchestration import checks
from mlrun_assets.orchestration.checks import ERROR, WARN
from mlrun_assets.records import DatasetRecord, RegistryRecord, ReportRecord, TechDebtRecord
from mlrun_assets_tests.examples import (
    checkpoint_record,
    dataset_record,
    evaluation_record,
    full_run,
)


def failed(results: list[dg.AssetCheckResult]) -> dict[str | None, dg.AssetCheckSeverity]:
    return {result.check_name: result.severity for result in results if not result.passed}


def test_a_rule_that_fails_is_a_warning_that_says_what_it_means() -> None:
    config = DeploymentConfig(min_accuracy=1.0, min_f1=0.0, beats_baseline="advice")
    results = checks.rule_results(judge_scores(evaluation_record(0.8, 0.8), config))
    found = failed(results)
    assert found["min_accuracy"] is WARN
    assert set(found.values()) == {WARN}
    says = {result.check_name: str(result.description) for result in results}
    assert says["min_accuracy"].startswith("Rejects the model: ")
    assert says["min_accuracy"].endswith(SCORE_RULES["min_accuracy"].remedy)
    assert says["min_coverage"].startswith("Off: ")
    assert not says["min_f1"].startswith("Rejects")


def test_each_data_check_describes_its_limits_and_a_remedy() -> None:
    described = {spec.name: str(spec.description) for spec in checks.specs(DatasetRecord.asset)}
    assert list(described) == list(CHECKS)
    assert "imbalance_ratio 3, min_rows_per_label 10" in described["class_balance"]
    named = " ".join(described.values())
    unnamed = [key for key in QualityConfig.model_fields if not re.search(rf"\b{key} ", named)]
    # Settings of a check that are no limits.
    assert unnamed == NO_LIMITS
    assert all("To fix it: " in text for text in described.values())


NO_LIMITS = [
    "skip",
    "exempt",
    "wanted_detectable_difference",
    "language_detector",
    "min_language_words",
]


def test_quality_results_have_outcome_value_and_rows() -> None:
    dataset = full_run().dataset
    assert dataset is not None
    results = checks.quality_results(dataset)
    assert [result.check_name for result in results] == [check.name for check in dataset.checks]
    blocking = {check.name for check in dataset.checks if check.blocks}
    assert blocking <= {spec.name for spec in checks.specs(DatasetRecord.asset) if spec.blocking}
    assert {name for name, severity in failed(results).items() if severity is ERROR} == blocking


def test_a_model_that_does_not_beat_the_majority_label_has_not_learned() -> None:
    balanced = dataset_record({"a": 5, "b": 5})
    one_label = dataset_record({"a": 10})
    assert "learned" not in failed(checks.checkpoint_results(checkpoint_record(), balanced))
    assert failed(checks.checkpoint_results(checkpoint_record(), one_label))["learned"] is ERROR


@pytest.mark.parametrize(("text", "passes"), [("- x\n", True), ("", False), ("- x\n- x\n", False)])
def test_the_line_of_a_run_is_in_the_registry_once(tmp_path: Path, text: str, passes: bool) -> None:
    (tmp_path / "_registry.md").write_text(text)
    record = RegistryRecord.model_construct(file=str(tmp_path / "_registry.md"), line="- x")
    assert (not failed(checks.registry_results(record))) is passes


@pytest.mark.parametrize(("second", "passes"), [("TD-002", True), ("TD-001", False)])
def test_items_of_tech_debt_have_different_numbers(
    tmp_path: Path, second: str, passes: bool
) -> None:
    file = tmp_path / "_tech-debt.md"
    file.write_text(f"- [ ] **TD-001** a\n- [ ] **{second}** b\n")
    found = failed(checks.debt_results(TechDebtRecord.model_construct(file=str(file))))
    assert found == ({} if passes else {"numbers_unique": WARN})


@pytest.mark.parametrize(("link", "passes"), [("a%20b.png", True), ("gone.png", False)])
def test_the_links_of_a_report_resolve(tmp_path: Path, link: str, passes: bool) -> None:
    (tmp_path / "a b.png").touch()
    file = tmp_path / "report.md"
    file.write_text(f"![x]({link}) [web](https://example.com)")
    found = failed(checks.report_results(ReportRecord.model_construct(file=str(file))))
    assert found == ({} if passes else {"links_resolve": ERROR})
