"""Tables about the data, the datasheet, and the listing of checks for a terminal.

The datasheet follows Gebru et al., Datasheets for Datasets (https://arxiv.org/abs/1803.09010), as
far as the records can answer; it names the answers that only a person can give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import count
from mlrun_assets.markdown import Markdown, clean, code, joined, prose
from mlrun_assets.records import (
    CheckOutcome,
    Choice,
    DatasetRecord,
    QualityCheck,
    SourceFile,
    SplitProfile,
    TrainingPlan,
)
from mlrun_assets.reports.formatting import (
    digest,
    integer,
    megabytes,
    number,
    percent,
    template,
    threshold,
)
from mlrun_assets.reports.tables import CELL_LIMIT, table


def splits_table(dataset: DatasetRecord) -> Markdown:
    """Rows and lengths of each split."""
    return table(
        "split | rows read = kept + quarantined | >tokens median | >p95 | >max | >truncated | "
        ">unknown tokens",
        (
            [
                name,
                _rows(split),
                number(split.tokens_median),
                number(split.tokens_p95),
                integer(split.tokens_max),
                percent(split.truncated_fraction),
                percent(split.unknown_token_fraction),
            ]
            for name, split in dataset.splits.items()
        ),
    )


def _rows(split: SplitProfile) -> Markdown:
    """``1,021 = 1,019 + 2``; with ``≠`` if the record does not add up."""
    read, kept, quarantined = split.rows_read, split.rows_kept, split.rows_quarantined
    return Markdown(
        f"{read:,} {'=' if read == kept + quarantined else '≠'} {kept:,} + {quarantined:,}"
    )


def checks_table(checks: Iterable[QualityCheck]) -> Markdown:
    """Outcome, value, threshold and message of each check."""
    return table(
        "check | result | >value | >threshold | >rows | message",
        (
            [
                code(check.name),
                Markdown("**blocks**") if check.blocks else _result(check),
                number(check.value),
                threshold(check),
                integer(check.rows),
                prose(check.message, CELL_LIMIT),
            ]
            for check in checks
        ),
    )


def _result(check: QualityCheck) -> str:
    return "BLOCKS" if check.blocks else "warns" if check.warns else check.outcome


def quarantine_table(dataset: DatasetRecord) -> Markdown:
    """Quarantined rows by reason, the most frequent first."""
    reasons = sorted(dataset.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    return table("reason | >rows", ([reason, integer(rows)] for reason, rows in reasons))


def choices_table(choices: Iterable[Choice]) -> Markdown:
    """The value of each setting, its source and the reason."""
    return table(
        "setting | value | from | reason | evidence",
        (
            [
                code(choice.key),
                code(choice.value),
                choice.source,
                prose(choice.reason, CELL_LIMIT),
                prose(choice.evidence, CELL_LIMIT),
            ]
            for choice in choices
        ),
    )


def changed_choices(plan: TrainingPlan) -> list[Choice]:
    """The settings that neither are the default nor come from a rule."""
    return [choice for choice in plan.choices if choice.source not in ("default", "rule")]


def ruled_sentence(plan: TrainingPlan) -> Markdown:
    """The values that the rules chose."""
    chosen = (
        Markdown(f"{code(choice.key)} {code(choice.value)}")
        for choice in plan.choices
        if choice.source == "rule" and "." in choice.key
    )
    return Markdown(f"Chosen by rules: {joined(chosen)}.")


def render_datasheet(dataset: DatasetRecord, data: DataConfig) -> str:
    """The datasheet as Markdown; ``data`` is the config section with licence and language."""
    return template("datasheet.md.j2").render(dataset=dataset, data=data)


def sources_table(dataset: DatasetRecord) -> Markdown:
    """Each file that was read, with its digest."""
    files = [(split, file) for split, part in dataset.splits.items() for file in part.files]
    for name, others in {"auxiliary": dataset.auxiliary, "unlabelled": dataset.unlabelled}.items():
        files += [(name, file) for file in (others.files if others else ())]
    rows = (
        [name, code(f.name), digest(f.digest), megabytes(f.size_bytes), _rows_of_file(f)]
        for name, f in files
    )
    return table("split | file | SHA-256 | >size | >rows", rows)


def _rows_of_file(file: SourceFile) -> str:
    lines = (
        f" (on {integer(file.rows_read + file.joined_lines)} lines)" if file.joined_lines else ""
    )
    encoding = f", read as {file.encoding}" if file.encoding else ""
    return f"{integer(file.rows_read)}{lines}{encoding}"


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows read, kept and quarantined by split."""
    rows = ([name, _rows(split)] for name, split in dataset.splits.items())
    return table("split | rows read = kept + quarantined", rows)


def _by_label(dataset: DatasetRecord, cell: Callable[[SplitProfile, str], Markdown]) -> Markdown:
    """A row per label, a column per split."""
    rows = (
        [label, *(cell(split, label) for split in dataset.splits.values())]
        for label in dataset.labels
    )
    return table(["label", *(f">{split}" for split in dataset.splits)], rows)


def labels_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, with their share of the split."""

    def share(split: SplitProfile, label: str) -> Markdown:
        rows, of = split.label_rows.get(label, 0), split.rows_kept
        return Markdown(f"{integer(rows)} ({percent(rows / of)})") if of else integer(rows)

    return _by_label(dataset, share)


def fit_table(dataset: DatasetRecord) -> Markdown:
    """Tokens per word by label and split, without special tokens."""
    return _by_label(
        dataset, lambda split, label: _counted(split.tokens_per_word_by_label.get(label, math.nan))
    )


def has_fit(dataset: DatasetRecord) -> bool:
    """Whether tokens were counted."""
    return any(profile.tokens_per_word_by_label for profile in dataset.splits.values())


def lengths_table(dataset: DatasetRecord) -> Markdown:
    """Words and tokens per text, and tokens per word, by split."""
    return table(
        "split | >words median | >p95 | >tokens median | >p95 | >max | >tokens per word",
        (
            [
                name,
                number(split.words_median),
                number(split.words_p95),
                _counted(split.tokens_median),
                _counted(split.tokens_p95),
                integer(None if math.isnan(split.tokens_median) else split.tokens_max),
                _counted(split.tokens_per_word),
            ]
            for name, split in dataset.splits.items()
        ),
    )


def _counted(value: float) -> Markdown:
    """Two decimals; a dash for NaN: tokens were not counted."""
    return number(None if math.isnan(value) else round(value, 2))


def failed_rows(dataset: DatasetRecord) -> list[tuple[str, str, str]]:
    """Name, result and message of the checks that need attention; those that block come first."""
    return [(check.name, _result(check), clean(check.message)) for check in dataset.failed_checks]


def conclusions(dataset: DatasetRecord) -> list[str]:
    """The other checks by outcome, the rows of each split, and the result."""
    outcomes = (CheckOutcome.PASSED, CheckOutcome.OFF)
    names = {of: [each.name for each in dataset.checks if each.outcome is of] for of in outcomes}
    lines = [f"{of} ({len(found)}): {', '.join(found)}" for of, found in names.items() if found]
    lines += [
        f"{split}: {count(profile.rows_read, 'row')} = {profile.rows_kept:,} kept + "
        f"{profile.rows_quarantined:,} quarantined"
        for split, profile in dataset.splits.items()
    ]
    blocking = [check.name for check in dataset.checks if check.blocks]
    return [*lines, f"blocked by {', '.join(blocking)}" if blocking else "ready to train on"]
