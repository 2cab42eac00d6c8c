"""The tables about the data and the plan that was made from it."""

from __future__ import annotations

from collections.abc import Iterable

from mlrun_assets.records import (
    DatasetRecord,
    EpochMetrics,
    QualityCheck,
    SplitProfile,
    TrainingPlan,
)
from mlrun_assets.reporting.escaping import Markdown, code, escape, prose
from mlrun_assets.reporting.formats import count, number, percent, score, threshold
from mlrun_assets.reporting.tables import CELL_LIMIT, table

_SPLITS_HEADER = (
    "split",
    "rows read = kept + quarantined",
    ">tokens median",
    ">p95",
    ">max",
    ">truncated",
    ">unknown tokens",
)


def splits_table(dataset: DatasetRecord) -> Markdown:
    """Rows and lengths of each split."""
    return table(
        _SPLITS_HEADER,
        (
            [
                name,
                rows_sentence(split),
                number(split.tokens_median),
                number(split.tokens_p95),
                count(split.tokens_max),
                percent(split.truncated_fraction),
                percent(split.unknown_token_fraction),
            ]
            for name, split in dataset.splits.items()
        ),
    )


def rows_sentence(split: SplitProfile) -> Markdown:
    """``1,021 = 1,019 + 2``; with ``≠`` where a record does not add up."""
    adds_up = split.rows_read == split.rows_kept + split.rows_quarantined
    return Markdown(
        f"{count(split.rows_read)} {'=' if adds_up else '≠'} {count(split.rows_kept)} + "
        f"{count(split.rows_quarantined)}"
    )


def checks_table(checks: Iterable[QualityCheck]) -> Markdown:
    """What each check found, and what that means."""
    return table(
        ["check", "means", ">value", ">threshold", ">rows", "what was found"],
        (
            [
                code(check.name),
                _meaning(check),
                number(check.value),
                threshold(check),
                count(check.rows),
                prose(check.message, CELL_LIMIT),
            ]
            for check in checks
        ),
    )


def _meaning(check: QualityCheck) -> Markdown:
    if check.blocks:
        return Markdown("**blocks**")
    return Markdown("warns") if check.warns else escape(str(check.outcome))


def quarantine_table(dataset: DatasetRecord) -> Markdown:
    """Quarantined rows by reason, the most frequent first."""
    reasons = sorted(dataset.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    return table(["reason", ">rows"], ([reason, count(rows)] for reason, rows in reasons))


def choices_table(plan: TrainingPlan) -> Markdown:
    """What the plan chose and why."""
    return table(
        ["setting", "value", "from", "reason", "evidence"],
        (
            [
                code(choice.key),
                code(choice.value),
                choice.source,
                prose(choice.reason, CELL_LIMIT),
                prose(choice.evidence, CELL_LIMIT),
            ]
            for choice in plan.choices
        ),
    )


def history_table(history: Iterable[EpochMetrics]) -> Markdown:
    """Losses and val scores, one row an epoch."""
    return table(
        [">epoch", ">step", ">train loss", ">val loss", ">val accuracy", ">val macro-F1"],
        (
            [
                number(epoch.epoch),
                count(epoch.step),
                score(epoch.train_loss),
                score(epoch.val_loss),
                score(epoch.val_accuracy),
                score(epoch.val_f1_macro),
            ]
            for epoch in history
        ),
    )
