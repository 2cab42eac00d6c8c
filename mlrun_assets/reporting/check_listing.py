"""The checks of a dataset as a table for a terminal."""

from __future__ import annotations

from mlrun_assets.records import DatasetRecord, QualityCheck
from mlrun_assets.reporting.escaping import clean
from mlrun_assets.reporting.formats import NOTHING, number, threshold

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
