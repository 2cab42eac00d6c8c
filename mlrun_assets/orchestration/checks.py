"""Asset checks: their specs, and their results from the records."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import dagster as dg

from mlrun_assets.config import CheckName
from mlrun_assets.decision.verdict import EXPORT_RULES, SCORE_RULES
from mlrun_assets.errors import count
from mlrun_assets.markdown import clean
from mlrun_assets.records import (
    CheckOutcome,
    CheckpointRecord,
    DatasetRecord,
    EvaluationRecord,
    ExportRecord,
    RegistryRecord,
    ReportRecord,
    RuleOutcome,
    RuleResult,
    TechDebtRecord,
)

MAX_FERTILITY_GROWTH = 0.01
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR

_DESCRIPTIONS = {
    DatasetRecord.asset: {
        name: f"Data check {name}; its limits are in data.quality." for name in get_args(CheckName)
    },
    CheckpointRecord.asset: {
        "learned": "The best epoch beats the majority label on val.",
        "vocabulary_covers": (
            f"Vocabulary trimming adds at most {MAX_FERTILITY_GROWTH:.0%} tokens to the val texts."
        ),
    },
    EvaluationRecord.asset: {name: rule.condition for name, rule in SCORE_RULES.items()},
    ExportRecord.asset: {name: rule.condition for name, rule in EXPORT_RULES.items()},
    RegistryRecord.asset: {
        "line_written_once": "The registry has the line of this run exactly once."
    },
    TechDebtRecord.asset: {"numbers_unique": "All items of tech debt have different numbers."},
    ReportRecord.asset: {"links_resolve": "Every file that the report links exists."},
}


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset.

    Only a data check blocks the run, if it fails with severity ERROR: a rejected model is a result,
    not a failed run.
    """
    blocking = asset == DatasetRecord.asset
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=blocking, description=description)
        for name, description in _DESCRIPTIONS.get(asset, {}).items()
    ]


def quality_results(dataset: DatasetRecord) -> list[dg.AssetCheckResult]:
    """The outcomes of the data checks."""
    return [
        _result(
            check.name,
            check.outcome is not CheckOutcome.FAILED,
            check.message,
            dg.AssetCheckSeverity[check.severity.name],
            value=check.value,
            threshold=check.threshold,
            rows=check.rows,
        )
        for check in dataset.checks
    ]


def rule_results(rules: Iterable[RuleResult]) -> list[dg.AssetCheckResult]:
    """The outcomes of the decision's rules."""
    return [
        _result(
            rule.rule,
            rule.outcome in (RuleOutcome.PASSED, RuleOutcome.OFF),
            rule.sentence,
            WARN if rule.outcome is RuleOutcome.WARNED else ERROR,
            value=rule.value,
            limit=rule.limit,
            low=rule.low,
            high=rule.high,
        )
        for rule in rules
    ]


def checkpoint_results(
    checkpoint: CheckpointRecord, dataset: DatasetRecord
) -> list[dg.AssetCheckResult]:
    """Whether the model beats the majority label, and the tokens that trimming added."""
    accuracy = checkpoint.winner.accuracy
    rows = dataset.splits["val"].label_rows.values()
    majority = max(rows) / sum(rows)
    learned = f"accuracy without the test split {accuracy:.3f}, majority label {majority:.3f}"
    growth = checkpoint.trim.fertility_growth if checkpoint.trim else 0.0
    added = f"{growth:+.2%} tokens in the val texts"
    covers = added if checkpoint.trim else "the vocabulary was not trimmed"
    return [
        _result("learned", accuracy > majority, learned),
        _result("vocabulary_covers", growth <= MAX_FERTILITY_GROWTH, covers, WARN),
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
    repeated = sorted(number for number, times in Counter(numbers).items() if times > 1)
    found = f"repeated: {', '.join(repeated)}" if repeated else count(len(numbers), "item")
    return [_result("numbers_unique", not repeated, found, WARN)]


def report_results(record: ReportRecord) -> list[dg.AssetCheckResult]:
    """Whether every file that the report links exists."""
    file = Path(record.file)
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", file.read_text(encoding="utf-8"))
    missing = [link for link in links if not (file.parent / unquote(link)).exists()]
    found = f"missing: {', '.join(missing)}" if missing else count(len(links), "link")
    return [_result("links_resolve", not missing, found)]


def _result(
    name: str,
    passed: bool,
    description: str,
    severity: dg.AssetCheckSeverity = ERROR,
    **numbers: float | None,
) -> dg.AssetCheckResult:
    measured = {key: round(float(each), 4) for key, each in numbers.items() if each is not None}
    return dg.AssetCheckResult(
        check_name=name,
        passed=passed,
        severity=severity,
        description=clean(description),
        metadata=measured,
    )
