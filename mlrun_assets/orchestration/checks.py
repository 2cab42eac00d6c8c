"""Asset checks: their specs, and their results from the records."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import dagster as dg

from mlrun_assets.config import CheckName, DeploymentConfig
from mlrun_assets.decision.verdict import RULES, judge_export, judge_scores
from mlrun_assets.errors import count
from mlrun_assets.records import (
    CheckOutcome,
    CheckpointRecord,
    DatasetRecord,
    EvaluationRecord,
    ExportRecord,
    QualityCheck,
    Record,
    RegistryRecord,
    ReportRecord,
    RuleOutcome,
    RuleResult,
    Severity,
    TechDebtRecord,
)

MAX_FERTILITY_GROWTH = 0.01

_DESCRIPTIONS = {
    **{name: rule.condition for name, rule in RULES.items()},
    "learned": "The best epoch beats the majority label on val.",
    "vocabulary_covers": (
        f"Vocabulary trimming adds at most {MAX_FERTILITY_GROWTH:.0%} tokens to the val texts."
    ),
    "line_written_once": "The registry has the line of this run exactly once.",
    "numbers_unique": "All items of tech debt have different numbers.",
    "links_resolve": "Every file that the report links exists.",
}


def quality_specs() -> list[dg.AssetCheckSpec]:
    """One spec per data check; a check that fails with severity ERROR blocks the run."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=DatasetRecord.asset,
            blocking=True,
            description=f"Data check {name}; its limits are in data.quality.",
        )
        for name in get_args(CheckName)
    ]


def specs(record: type[Record], names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Specs of checks that never block: a rejected model is a result, not a failed run."""
    return [
        dg.AssetCheckSpec(name, asset=record.asset, description=_DESCRIPTIONS[name])
        for name in names
    ]


def quality_results(dataset: DatasetRecord) -> list[dg.AssetCheckResult]:
    """The outcomes of the data checks."""
    return [_quality_result(check) for check in dataset.checks]


def score_results(
    evaluation: EvaluationRecord, config: DeploymentConfig
) -> list[dg.AssetCheckResult]:
    """The outcomes of the rules about scores, as the decision sees them."""
    return [_rule_result(rule) for rule in judge_scores(evaluation, config)]


def export_results(export: ExportRecord, config: DeploymentConfig) -> list[dg.AssetCheckResult]:
    """The outcomes of the rules about the exported model, as the decision sees them."""
    return [_rule_result(rule) for rule in judge_export(export, config)]


def checkpoint_results(
    checkpoint: CheckpointRecord, dataset: DatasetRecord
) -> list[dg.AssetCheckResult]:
    """Whether the model beats the majority label on val, and the tokens that trimming added."""
    best = max(checkpoint.history, key=lambda entry: entry.val_f1_macro)
    rows = dataset.splits["val"].label_rows.values()
    majority = max(rows) / sum(rows)
    growth = checkpoint.trim.fertility_growth if checkpoint.trim else 0.0
    return [
        _result(
            "learned",
            best.val_accuracy > majority,
            f"val accuracy {best.val_accuracy:.3f}, majority label {majority:.3f}",
        ),
        _result(
            "vocabulary_covers",
            growth <= MAX_FERTILITY_GROWTH,
            f"{growth:+.2%} tokens in the val texts"
            if checkpoint.trim
            else "the vocabulary was not trimmed",
            dg.AssetCheckSeverity.WARN,
        ),
    ]


def registry_results(record: RegistryRecord) -> list[dg.AssetCheckResult]:
    """Whether the registry file has the line of this run exactly once."""
    lines = Path(record.file).read_text(encoding="utf-8", errors="replace").splitlines()
    times = sum(line.strip() == record.line for line in lines)
    return [_result("line_written_once", times == 1, f"found {count(times, 'time')}")]


def debt_results(record: TechDebtRecord) -> list[dg.AssetCheckResult]:
    """Whether all items in the tech-debt file have different numbers."""
    text = Path(record.file).read_text(encoding="utf-8", errors="replace")
    numbers = re.findall(r"^- \[.\] \*\*(TD-\d+)\*\*", text, flags=re.MULTILINE)
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    found = f"repeated: {', '.join(repeated)}" if repeated else count(len(numbers), "item")
    return [_result("numbers_unique", not repeated, found, dg.AssetCheckSeverity.WARN)]


def report_results(record: ReportRecord) -> list[dg.AssetCheckResult]:
    """Whether every file that the report links exists."""
    file = Path(record.file)
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", file.read_text(encoding="utf-8"))
    missing = [link for link in links if not (file.parent / unquote(link)).exists()]
    found = f"missing: {', '.join(missing)}" if missing else count(len(links), "link")
    return [_result("links_resolve", not missing, found)]


def _quality_result(check: QualityCheck) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=check.outcome is not CheckOutcome.FAILED,
        severity=_SEVERITIES[check.severity],
        description=check.message,
        metadata=_numbers(
            {"value": check.value, "threshold": check.threshold, "rows": float(check.rows)}
        ),
    )


def _rule_result(rule: RuleResult) -> dg.AssetCheckResult:
    warned = rule.outcome is RuleOutcome.WARNED
    return dg.AssetCheckResult(
        check_name=rule.rule,
        passed=rule.outcome in (RuleOutcome.PASSED, RuleOutcome.OFF),
        severity=dg.AssetCheckSeverity.WARN if warned else dg.AssetCheckSeverity.ERROR,
        description=rule.sentence,
        metadata=_numbers(
            {"value": rule.value, "limit": rule.limit, "low": rule.low, "high": rule.high}
        ),
    )


def _result(
    name: str,
    passed: bool,
    description: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=bool(passed), severity=severity, description=description
    )


def _numbers(values: dict[str, float | None]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in values.items() if value is not None}


_SEVERITIES = {
    Severity.ERROR: dg.AssetCheckSeverity.ERROR,
    Severity.WARN: dg.AssetCheckSeverity.WARN,
}
