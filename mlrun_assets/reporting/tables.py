"""Markdown tables: as many cells in each row as in the header, whatever the cells hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlrun_assets.reporting.escaping import Markdown, escape, prose

CELL_LIMIT = 240


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A GitHub table, without a newline at its end.

    Args:
        header: the columns' names; one that starts with ``>`` is aligned to the right.
        rows: their cells; a string that is not `Markdown` is escaped and cut at `CELL_LIMIT`.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    rule = ["---:" if name.startswith(">") else "---" for name in header]
    lines = [_line([escape(name.removeprefix(">")) for name in header]), _line(rule)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} columns: {row}")
        lines.append(_line([escape(cell, CELL_LIMIT) for cell in row]))
    return Markdown("\n".join(lines))


def bullets(items: Iterable[str]) -> Markdown:
    """A list with one sentence an item."""
    return Markdown("\n".join(f"- {prose(item)}" for item in items))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
