"""Sizes, lengths and labels of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from mlrun_assets.files import digest_file
from mlrun_assets.records import SplitProfile
from mlrun_assets.stages.quality.reading import SplitRows

Integers = npt.NDArray[np.int64]


class TokenCounts(NamedTuple):
    """Tokens of each text, uncut and with the special ones, and how many of them are unknown."""

    tokens: Integers
    unknown: Integers


CountTokens = Callable[[list[str]], TokenCounts]


def profile_split(
    rows: SplitRows, labels: tuple[str, ...], max_length: int, file: str
) -> SplitProfile:
    """What a split looks like; ``rows.frame`` has the columns ``tokens`` and ``unknown``."""
    frame = rows.frame
    words = frame["text"].str.extract_all(r"\S+").list.len().to_numpy()
    tokens = frame["tokens"].to_numpy()
    return SplitProfile(
        source=str(rows.path),
        source_digest=digest_file(rows.path),
        source_bytes=rows.path.stat().st_size,
        file=file,
        rows_read=rows.rows_read,
        rows_kept=frame.height,
        rows_quarantined=len(rows.bad),
        label_rows={label: int((frame["label"] == label).sum()) for label in labels},
        words_median=_quantile(words, 0.5),
        words_p95=_quantile(words, 0.95),
        tokens_median=_quantile(tokens, 0.5),
        tokens_p95=_quantile(tokens, 0.95),
        tokens_max=int(tokens.max(initial=0)),
        tokens_per_word=float(tokens.sum() / max(1, words.sum())),
        truncated_fraction=float((tokens > max_length).mean()) if frame.height else 0.0,
        unknown_token_fraction=float(frame["unknown"].sum() / max(1, tokens.sum())),
    )


def add_counts(frame: pl.DataFrame, count_tokens: CountTokens) -> pl.DataFrame:
    """``frame`` with the columns ``tokens`` and ``unknown``."""
    counts = count_tokens(frame["text"].to_list())
    return frame.with_columns(
        pl.Series("tokens", counts.tokens, dtype=pl.Int64),
        pl.Series("unknown", counts.unknown, dtype=pl.Int64),
    )


def _quantile(values: npt.NDArray[np.integer], quantile: float) -> float:
    return float(np.quantile(values, quantile)) if len(values) else 0.0
