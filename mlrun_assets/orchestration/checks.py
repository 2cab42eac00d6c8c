"""Records to asset checks: their names are fixed here, their verdicts come from the records."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import dagster as dg

from mlrun_assets.config import CheckName, DeploymentConfig
from mlrun_assets.decision.verdict import RULES, judge_export, judge_scores
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
    **{name: rule.asks for name, rule in RULES.items()},
    "learned": "The best epoch beats the commonest label on val.",
    "vocabulary_covers": "Trimming leaves the val texts nearly as short as before.",
    "line_stands_once": "The registry holds this run's line, once.",
    "numbers_unique": "No number stands twice among the items of tech debt.",
    "links_resolve": "Every picture that the report links is there.",
}


def quality_specs() -> list[dg.AssetCheckSpec]:
    """One check for each data-quality standard; one that fails as an error blocks the run."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=DatasetRecord.asset,
            blocking=True,
            description=f"Data-quality standard {name}; its threshold is under data.quality.",
        )
        for name in get_args(CheckName)
    ]


def specs(record: type[Record], names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Checks that inform: a rejected model is a result, not a failed run."""
    return [
        dg.AssetCheckSpec(name, asset=record.asset, description=_DESCRIPTIONS[name])
        for name in names
    ]


def quality_results(dataset: DatasetRecord) -> list[dg.AssetCheckResult]:
    """The outcome of each data-quality check."""
    return [_quality_result(check) for check in dataset.checks]


def score_results(
    evaluation: EvaluationRecord, config: DeploymentConfig
) -> list[dg.AssetCheckResult]:
    """The rules that look at the scores, as the decision will see them."""
    return [_rule_result(rule) for rule in judge_scores(evaluation, config)]


def export_results(export: ExportRecord, config: DeploymentConfig) -> list[dg.AssetCheckResult]:
    """The rules that look at what would be deployed, as the decision will see them."""
    return [_rule_result(rule) for rule in judge_export(export, config)]


def checkpoint_results(
    checkpoint: CheckpointRecord, dataset: DatasetRecord
) -> list[dg.AssetCheckResult]:
    """Whether the model learned anything, and what trimming cost."""
    best = max(checkpoint.history, key=lambda entry: entry.val_f1_macro)
    rows = dataset.splits["val"].label_rows.values()
    commonest = max(rows) / sum(rows)
    growth = checkpoint.trim.fertility_growth if checkpoint.trim else 0.0
    return [
        _result(
            "learned",
            best.val_accuracy > commonest,
            f"val accuracy {best.val_accuracy:.3f}, the commonest label alone {commonest:.3f}",
        ),
        _result(
            "vocabulary_covers",
            growth <= MAX_FERTILITY_GROWTH,
            f"val texts have {growth:+.2%} tokens"
            if checkpoint.trim
            else "the vocabulary is whole",
            dg.AssetCheckSeverity.WARN,
        ),
    ]


def registry_results(record: RegistryRecord) -> list[dg.AssetCheckResult]:
    """Whether this run's line stands in the registry, read back."""
    lines = Path(record.file).read_text(encoding="utf-8", errors="replace").splitlines()
    times = sum(line.strip() == record.line for line in lines)
    return [_result("line_stands_once", times == 1, f"the line stands {times} times")]


def debt_results(record: TechDebtRecord) -> list[dg.AssetCheckResult]:
    """Whether the numbers of all items are unique, read back."""
    text = Path(record.file).read_text(encoding="utf-8", errors="replace")
    numbers = re.findall(r"^- \[.\] \*\*(TD-\d+)\*\*", text, flags=re.MULTILINE)
    repeated = sorted({number for number in numbers if numbers.count(number) > 1})
    said = f"more than once: {', '.join(repeated)}" if repeated else f"{len(numbers)} items"
    return [_result("numbers_unique", not repeated, said, dg.AssetCheckSeverity.WARN)]


def report_results(record: ReportRecord) -> list[dg.AssetCheckResult]:
    """Whether everything that the report links is there."""
    file = Path(record.file)
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", file.read_text(encoding="utf-8"))
    missing = [link for link in links if not (file.parent / unquote(link)).exists()]
    said = f"missing: {', '.join(missing)}" if missing else f"{len(links)} links"
    return [_result("links_resolve", not missing, said)]


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
