"""Asset checks: their specs, and their results from the records."""

import re
from collections import Counter
from collections.abc import Iterable
from inspect import getdoc
from pathlib import Path
from typing import NamedTuple, get_args
from urllib.parse import unquote

import dagster as dg

from mlrun_assets.config import CheckName, QualityConfig
from mlrun_assets.data.checks.suite import CHECKS
from mlrun_assets.decision.verdict import EXPORT_RULES, RULES, SCORE_RULES, RuleText
from mlrun_assets.errors import count, percent
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


class _Text(NamedTuple):
    """What a data check does if it fails, its keys in ``data.quality``, and what to do then.

    What it tests is the first sentence of its function.
    """

    fails: str
    limits: tuple[str, ...]
    remedy: str


_BLOCKS, _WARNS, _BOTH = "blocks the run", "warns", "warns or blocks the run"
_DRIFT = ("drift_warns", "drift_blocks", "separability_warns", "separability_blocks")
_SIMILAR = (*_DRIFT, "max_length_distance", "max_unseen_words")
_DATA_CHECKS: dict[CheckName, _Text] = {
    "schema": _Text(
        _BLOCKS, ("max_invalid_fraction",), "Correct the rows that data/quarantine.jsonl lists."
    ),
    "splits_nonempty": _Text(_BLOCKS, (), "Add rows to the split, or correct its path."),
    "label_domain": _Text(
        _BLOCKS, (), "Write each label in one way only, or correct model.num_labels."
    ),
    "every_label_in_every_split": _Text(_BOTH, (), "Label more rows, or remove the label."),
    "exact_duplicates": _Text(_WARNS, (), "Remove the repeated rows."),
    "conflicting_labels": _Text(
        _BOTH, ("max_conflicting_fraction",), "Decide which label of the text is right."
    ),
    "near_duplicates": _Text(
        _WARNS, ("near_duplicate_similarity",), "Remove all but one row of each group."
    ),
    "split_leakage": _Text(
        _BOTH,
        ("containment_warns", "containment_blocks", "near_duplicate_similarity"),
        "Keep the rows that data/leaks.jsonl lists in one split only.",
    ),
    "class_balance": _Text(
        _WARNS, ("imbalance_ratio", "min_rows_per_label"), "Label more rows of the rare labels."
    ),
    "test_power": _Text(
        _WARNS, ("max_detectable_difference", "test_discordance"), "Label more test rows."
    ),
    "label_noise": _Text(
        _WARNS, ("max_suspected_fraction",), "Look at the rows of data/review_labels.jsonl."
    ),
    "split_drift": _Text(_BOTH, _SIMILAR, "Draw the three splits from one source."),
    "drift_from_previous": _Text(
        _BOTH, _SIMILAR, "Look at what changed; give other data another data.name."
    ),
    "truncation": _Text(
        _WARNS,
        ("max_truncated_fraction",),
        "Raise model.max_length, or put the most important column first.",
    ),
    "tokenizer_fit": _Text(
        _WARNS,
        ("max_tokens_per_word", "max_unknown_token_fraction"),
        "Choose an encoder for this language.",
    ),
    "language": _Text(
        _BOTH,
        ("other_language_warns", "other_language_blocks"),
        "Remove the rows in other languages, or correct data.language.",
    ),
    "code_switching": _Text(_WARNS, (), "Look at the scores of these rows."),
    "empty_or_short": _Text(_WARNS, ("min_words",), "Complete or remove the rows."),
    "too_long": _Text(
        _WARNS, ("max_characters",), "Split the rows, or look for rows that ran together."
    ),
    "encoding": _Text(_WARNS, (), "Save the files as UTF-8, from their source."),
    "pii": _Text(_WARNS, (), "Mask or remove what identifies a person."),
}


def _describe(name: CheckName) -> str:
    """What a data check tests, its limits, what a failure does, and what to do then."""
    text = _DATA_CHECKS[name]
    tests = (getdoc(CHECKS[name]) or name).partition("\n\n")[0].replace("\n", " ")
    tests = tests.replace("``", "`")
    defaults = {key: QualityConfig.model_fields[key].default for key in text.limits}
    limits = ", ".join(f"{key} {limit:g}" for key, limit in defaults.items())
    lines = [
        tests,
        f"Limits in data.quality, with their defaults: {limits}." if limits else "",
        f"A failure {text.fails}. To fix it: {text.remedy}",
    ]
    return " ".join(filter(None, lines))


def _condition(text: RuleText) -> str:
    return f"{text.condition} If not, the run still succeeds. To fix it: {text.remedy}"


_DESCRIPTIONS = {
    DatasetRecord.asset: {name: _describe(name) for name in get_args(CheckName)},
    CheckpointRecord.asset: {
        "learned": "The best candidate beats the majority label, without the test split. If not, "
        "look at the labels, and at the curve of the training.",
        "vocabulary_covers": (
            f"Vocabulary trimming adds at most {percent(MAX_FERTILITY_GROWTH, 0)} tokens to the "
            "val texts. If not, set model.trim_vocabulary to false."
        ),
    },
    EvaluationRecord.asset: {name: _condition(text) for name, text in SCORE_RULES.items()},
    ExportRecord.asset: {name: _condition(text) for name, text in EXPORT_RULES.items()},
    RegistryRecord.asset: {
        "line_written_once": "The registry has the line of this run exactly once. If not, somebody "
        "has edited it: remove the other line."
    },
    TechDebtRecord.asset: {
        "numbers_unique": "All items of tech debt have different numbers. If not, give one of them "
        "another number."
    },
    ReportRecord.asset: {
        "links_resolve": "Every file that the report links exists. If not, a file of the "
        "experiment was removed while it ran."
    },
}


def specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset.

    Only a data check blocks the run, if it fails with severity ERROR: a rejected model is a result,
    not a failed run.
    """
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=_may_block(name), description=description)
        for name, description in _DESCRIPTIONS.get(asset, {}).items()
    ]


def _may_block(name: str) -> bool:
    return name in {check for check, text in _DATA_CHECKS.items() if text.fails != _WARNS}


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


_OUTCOMES = {
    RuleOutcome.PASSED: "{0}",
    RuleOutcome.OFF: "Off: {0}",
    RuleOutcome.WARNED: "Advice only: {0}. {1}",
    RuleOutcome.FAILED: "Rejects the model: {0}. {1}",
    RuleOutcome.INCONCLUSIVE: "Can't be shown: {0}. {1}",
    RuleOutcome.INCOMPARABLE: "Can't be compared: {0}. {1}",
}


def rule_results(rules: Iterable[RuleResult]) -> list[dg.AssetCheckResult]:
    """The outcomes of the decision's rules.

    They are warnings at most: a rejected model is not a broken asset, and Dagster shows an error
    in the same red as a crash.
    """
    return [
        _result(
            rule.rule,
            rule.outcome in (RuleOutcome.PASSED, RuleOutcome.OFF),
            _OUTCOMES[rule.outcome].format(rule.sentence, RULES[rule.rule].remedy),
            WARN,
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
    added = f"{100 * growth:+.2f} % tokens in the val texts"
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
