"""A datasheet of a validated dataset: where it comes from, what is in it, what is wrong with it.

The form follows Gebru and others, Datasheets for Datasets (https://arxiv.org/abs/1803.09010), as
far as records can answer; what only a person can answer is left open, in so many words.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import jinja2

from mlrun_assets.config import DataConfig
from mlrun_assets.records import (
    DatasetRecord,
    EpochMetrics,
    QualityCheck,
    SourceFile,
    SplitProfile,
    TrainingPlan,
)
from mlrun_assets.reports import formatting, sentences
from mlrun_assets.reports.formatting import (
    NOTHING,
    Markdown,
    clean,
    code,
    count,
    digest,
    escape,
    markdown_environment,
    megabytes,
    number,
    percent,
    prose,
    score,
    threshold,
)
from mlrun_assets.reports.tables import CELL_LIMIT, table

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


def render_datasheet(dataset: DatasetRecord, data: DataConfig) -> str:
    """The datasheet as Markdown; ``data`` has what the config states of the data."""
    return _template().render(dataset=dataset, data=data)


def sources_table(dataset: DatasetRecord) -> Markdown:
    """Each file that was read, with its digest."""
    return table(
        ["split", "file", "SHA-256", ">size", ">rows"],
        (
            [split, code(file.name), digest(file.digest), megabytes(file.size_bytes),
             count(file.rows_read)]
            for split, files in _files(dataset).items()
            for file in files
        ),
    )  # fmt: skip


def _files(dataset: DatasetRecord) -> dict[str, tuple[SourceFile, ...]]:
    files = {split: profile.files for split, profile in dataset.splits.items()}
    return files | ({"no label": dataset.unlabelled.files} if dataset.unlabelled else {})


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows read, kept and put aside by split."""
    return table(
        ["split", "rows read = kept + quarantined"],
        ([split, rows_sentence(profile)] for split, profile in dataset.splits.items()),
    )


def labels_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, with their share of the split."""
    header = ["label", *(f">{split}" for split in dataset.splits)]
    return table(
        header,
        (
            [label, *(_share(profile.label_rows.get(label, 0), profile.rows_kept)
                      for profile in dataset.splits.values())]
            for label in dataset.labels
        ),
    )  # fmt: skip


def lengths_table(dataset: DatasetRecord) -> Markdown:
    """Words and tokens of a text, and tokens of a word, by split."""
    header = ["split", ">words median", ">p95", ">tokens median", ">p95", ">max", ">tokens a word"]
    return table(
        header,
        (
            [
                split,
                number(profile.words_median),
                number(profile.words_p95),
                _counted(profile.tokens_median),
                _counted(profile.tokens_p95),
                count(profile.tokens_max if _is_counted(profile.tokens_median) else None),
                _counted(profile.tokens_per_word),
            ]
            for split, profile in dataset.splits.items()
        ),
    )


def fit_table(dataset: DatasetRecord) -> Markdown:
    """Tokens of a word by label and split, without the special ones."""
    return table(
        ["label", *(f">{split}" for split in dataset.splits)],
        (
            [label, *(number(_rounded(profile.tokens_per_word_by_label.get(label)))
                      for profile in dataset.splits.values())]
            for label in dataset.labels
        ),
    )  # fmt: skip


def has_fit(dataset: DatasetRecord) -> bool:
    """Whether tokens were counted."""
    return any(profile.tokens_per_word_by_label for profile in dataset.splits.values())


def _share(rows: int, of: int) -> Markdown:
    return Markdown(f"{count(rows)} ({percent(rows / of)})") if of else count(rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_counted(value: float) -> bool:
    return not math.isnan(value)


def _counted(value: float) -> Markdown:
    return number(_rounded(value) if _is_counted(value) else None)


@functools.cache
def _template() -> jinja2.Template:
    environment = markdown_environment()
    environment.globals.update(
        formatting=formatting,
        sentences=sentences,
        code=code,
        sources_table=sources_table,
        rows_table=rows_table,
        labels_table=labels_table,
        lengths_table=lengths_table,
        fit_table=fit_table,
        quarantine_table=quarantine_table,
        checks_table=checks_table,
        has_fit=has_fit,
    )
    return environment.get_template("datasheet.md.j2")


_HEADER = ("check", "result", "value", "threshold", "rows", "what was found")


def list_checks(dataset: DatasetRecord) -> str:
    """A line a check, in columns; then one sentence about the whole."""
    rows = [_HEADER, *(_cells(check) for check in dataset.checks)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER) - 1)]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    return "\n".join([*lines, "", _conclusion(dataset)])


def _cells(check: QualityCheck) -> tuple[str, ...]:
    result = "BLOCKS" if check.blocks else "warns" if check.warns else str(check.outcome)
    value = str(NOTHING) if check.value is None else str(number(check.value))
    return (
        check.name,
        result,
        value,
        str(threshold(check)),
        f"{check.rows:,}",
        clean(check.message),
    )


def _conclusion(dataset: DatasetRecord) -> str:
    kept = ", ".join(
        f"{split} {profile.rows_read:,} rows = {profile.rows_kept:,} kept + "
        f"{profile.rows_quarantined:,} quarantined"
        for split, profile in dataset.splits.items()
    )
    blocking = [check.name for check in dataset.checks if check.blocks]
    verdict = f"blocked by {', '.join(blocking)}" if blocking else "ready to train on"
    return f"{kept}\n{verdict}"
