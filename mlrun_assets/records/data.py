"""The validated dataset: its splits, and what the checks found."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from mlrun_assets.records.record import Record

SPLITS = ("train", "val", "test")


class Severity(StrEnum):
    """What it means that a check does not pass."""

    ERROR = "error"
    WARN = "warn"


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    OFF = "off"


class Bound(StrEnum):
    """How the value of a check relates to its threshold where the check passes."""

    AT_MOST = "≤"
    BELOW = "<"
    AT_LEAST = "≥"
    EXACTLY = "="


class QualityCheck(Record):
    """One data-quality check and what it found.

    The check fails where ``value`` is not within ``bound`` of ``threshold``. ``value`` is None
    where nothing was measured, ``threshold`` where the check only counts.
    """

    name: str
    outcome: CheckOutcome
    severity: Severity
    value: float | None
    threshold: float | None
    rows: int
    message: str
    bound: Bound = Bound.AT_MOST

    @property
    def blocks(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.ERROR

    @property
    def warns(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.WARN


class SourceFile(Record):
    """One file that a split was read from, called as messages call it."""

    name: str
    digest: str
    size_bytes: int
    rows_read: int


class SplitProfile(Record):
    """One split after validation: rows read = rows kept + rows quarantined.

    ``source_digest`` is that of the file, or a joint one of all ``files``. What counts tokens is
    not a number where there was no tokenizer to count them.
    """

    source_digest: str
    source_bytes: int
    file: str
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    label_rows: dict[str, int]
    words_median: float
    words_p95: float
    tokens_median: float
    tokens_p95: float
    tokens_max: int
    tokens_per_word: float
    truncated_fraction: float
    unknown_token_fraction: float
    tokens_per_word_by_label: dict[str, float] = {}
    files: tuple[SourceFile, ...] = ()


class UnlabelledTexts(Record):
    """Texts that only pretraining reads: rows read = rows kept + all that were left out.

    ``left_out`` counts rows by reason; ``digest`` is of the texts that were kept.
    """

    files: tuple[SourceFile, ...]
    file: str
    digest: str
    rows_read: int
    rows_kept: int
    left_out: dict[str, int]


class DatasetRecord(Record):
    """The validated dataset."""

    asset: ClassVar[str] = "validated_dataset"

    name: str | None = None
    ready: bool
    digest: str
    labels: tuple[str, ...]
    splits: dict[str, SplitProfile]
    checks: tuple[QualityCheck, ...]
    quarantine_reasons: dict[str, int]
    quarantine_file: str
    max_length: int
    normalised: dict[str, int] = {}
    unlabelled: UnlabelledTexts | None = None

    @property
    def rows(self) -> int:
        return sum(split.rows_kept for split in self.splits.values())

    @property
    def imbalance(self) -> float:
        """Training rows of the largest label per row of the smallest."""
        rows = self.splits["train"].label_rows.values()
        return max(rows) / min(rows) if rows and min(rows) else float("inf")

    @property
    def failed_checks(self) -> list[QualityCheck]:
        """The checks that did not pass; those that block come first."""
        failed = [check for check in self.checks if check.outcome is CheckOutcome.FAILED]
        return sorted(failed, key=lambda check: not check.blocks)
