"""Rows as they came to rows as they are stored: their texts in one regular form."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl

from mlrun_assets.stages.quality.reading import SplitRows
from mlrun_assets.text import Step, normalise

# Printable ASCII, no backtick, single spaces: regular in any orthography. The rest is looked at.
_PERHAPS_IRREGULAR = r"[^ -~]|`|  |^ | $"


def normalise_rows(rows: SplitRows, steps: frozenset[Step]) -> tuple[SplitRows, Counter[str]]:
    """``rows`` with normalised texts, and the changes counted by kind.

    The text as it came stays in the column ``raw``, for the checks that look at it.
    """
    texts = rows.frame["text"]
    positions = texts.str.contains(_PERHAPS_IRREGULAR).arg_true()
    results = [normalise(text, steps) for text in texts.gather(positions)]
    changes: Counter[str] = Counter()
    for result in results:
        for step, count in result.changes.items():
            changes[step.value] += count
    normal = pl.Series([result.text for result in results], dtype=pl.String)
    frame = rows.frame.with_columns(
        texts.alias("raw"), texts.clone().scatter(positions, normal).alias("text")
    )
    return replace(rows, frame=frame), changes
