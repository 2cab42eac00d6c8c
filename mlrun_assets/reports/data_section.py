"""Tables about the data, the datasheet, and the listing of checks for a terminal.

The datasheet follows Gebru et al., Datasheets for Datasets (https://arxiv.org/abs/1803.09010), as
far as the records can answer; it names the answers that only a person can give.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import jinja2

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import count
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
    digest,
    escape,
    integer,
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
                integer(split.tokens_max),
                percent(split.truncated_fraction),
                percent(split.unknown_token_fraction),
            ]
            for name, split in dataset.splits.items()
        ),
    )


def rows_sentence(split: SplitProfile) -> Markdown:
    """``1,021 = 1,019 + 2``; with ``≠`` if the record does not add up."""
    adds_up = split.rows_read == split.rows_kept + split.rows_quarantined
    return Markdown(
        f"{integer(split.rows_read)} {'=' if adds_up else '≠'} {integer(split.rows_kept)} + "
        f"{integer(split.rows_quarantined)}"
    )


def checks_table(checks: Iterable[QualityCheck]) -> Markdown:
    """Outcome, value, threshold and message of each check."""
    return table(
        ["check", "result", ">value", ">threshold", ">rows", "message"],
        (
            [
                code(check.name),
                _result(check),
                number(check.value),
                threshold(check),
                integer(check.rows),
                prose(check.message, CELL_LIMIT),
            ]
            for check in checks
        ),
    )


def _result(check: QualityCheck) -> Markdown:
    if check.blocks:
        return Markdown("**blocks**")
    return Markdown("warns") if check.warns else escape(str(check.outcome))


def quarantine_table(dataset: DatasetRecord) -> Markdown:
    """Quarantined rows by reason, the most frequent first."""
    reasons = sorted(dataset.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    return table(["reason", ">rows"], ([reason, integer(rows)] for reason, rows in reasons))


def choices_table(plan: TrainingPlan) -> Markdown:
    """The value of each setting, its source and the reason."""
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
    """Losses and val scores, one row per epoch."""
    return table(
        [">epoch", ">step", ">train loss", ">val loss", ">val accuracy", ">val macro-F1"],
        (
            [
                number(epoch.epoch),
                integer(epoch.step),
                score(epoch.train_loss),
                score(epoch.val_loss),
                score(epoch.val_accuracy),
                score(epoch.val_f1_macro),
            ]
            for epoch in history
        ),
    )


def render_datasheet(dataset: DatasetRecord, data: DataConfig) -> str:
    """The datasheet as Markdown; ``data`` is the config section with licence and language."""
    return _template().render(dataset=dataset, data=data)


def sources_table(dataset: DatasetRecord) -> Markdown:
    """Each file that was read, with its digest."""
    return table(
        ["split", "file", "SHA-256", ">size", ">rows"],
        (
            [split, code(file.name), digest(file.digest), megabytes(file.size_bytes),
             integer(file.rows_read)]
            for split, files in _files(dataset).items()
            for file in files
        ),
    )  # fmt: skip


def _files(dataset: DatasetRecord) -> dict[str, tuple[SourceFile, ...]]:
    files = {split: profile.files for split, profile in dataset.splits.items()}
    return files | ({"unlabelled": dataset.unlabelled.files} if dataset.unlabelled else {})


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows read, kept and quarantined by split."""
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
    """Words and tokens per text, and tokens per word, by split."""
    header = [
        "split",
        ">words median",
        ">p95",
        ">tokens median",
        ">p95",
        ">max",
        ">tokens per word",
    ]
    return table(
        header,
        (
            [
                split,
                number(profile.words_median),
                number(profile.words_p95),
                _counted(profile.tokens_median),
                _counted(profile.tokens_p95),
                integer(profile.tokens_max if _is_counted(profile.tokens_median) else None),
                _counted(profile.tokens_per_word),
            ]
            for split, profile in dataset.splits.items()
        ),
    )


def fit_table(dataset: DatasetRecord) -> Markdown:
    """Tokens per word by label and split, without special tokens."""
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
    return Markdown(f"{integer(rows)} ({percent(rows / of)})") if of else integer(rows)


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


_HEADER = ("check", "result", "value", "threshold", "rows", "message")


def list_checks(dataset: DatasetRecord) -> str:
    """One line per check in columns, then the rows of each split and the result."""
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
        f"{split} {count(profile.rows_read, 'row')} = {profile.rows_kept:,} kept + "
        f"{profile.rows_quarantined:,} quarantined"
        for split, profile in dataset.splits.items()
    )
    blocking = [check.name for check in dataset.checks if check.blocks]
    verdict = f"blocked by {', '.join(blocking)}" if blocking else "ready to train on"
    return f"{kept}\n{verdict}"
