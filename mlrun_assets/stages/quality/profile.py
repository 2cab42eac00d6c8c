"""Sizes, lengths and labels of a split."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.arrays import IntArray
from mlrun_assets.records import SplitProfile
from mlrun_assets.stages.quality.finding import Dataset
from mlrun_assets.stages.quality.reading import SplitRows, join_digests
from mlrun_assets.stages.quality.tokenizing import tokens_per_word


class TokenCounts(NamedTuple):
    """Tokens of each text, uncut and with the special ones, and how many of them are unknown."""

    tokens: IntArray
    unknown: IntArray


CountTokens = Callable[[list[str]], TokenCounts]


def profile_split(rows: SplitRows, dataset: Dataset, file: str) -> SplitProfile:
    """What a split looks like; ``rows.frame`` has the columns ``tokens`` and ``unknown``.

    Where these are null, what counts tokens is not a number.
    """
    frame = rows.frame
    words = frame["text"].str.extract_all(r"\S+").list.len().to_numpy()
    tokens = frame["tokens"].drop_nulls().to_numpy()
    counted = dataset.token_problem is None
    return SplitProfile(
        source_digest=join_digests([file.digest for file in rows.files]),
        source_bytes=sum(file.size_bytes for file in rows.files),
        files=rows.files,
        file=file,
        rows_read=rows.rows_read,
        rows_kept=frame.height,
        rows_quarantined=len(rows.bad),
        label_rows={label: int((frame["label"] == label).sum()) for label in dataset.labels},
        words_median=_quantile(words, 0.5),
        words_p95=_quantile(words, 0.95),
        tokens_median=_quantile(tokens, 0.5) if counted else nan,
        tokens_p95=_quantile(tokens, 0.95) if counted else nan,
        tokens_max=int(tokens.max(initial=0)),
        tokens_per_word=float(tokens.sum() / max(1, words.sum())) if counted else nan,
        truncated_fraction=_share_above(tokens, dataset.max_length) if counted else nan,
        unknown_token_fraction=(
            float(frame["unknown"].sum() / max(1, tokens.sum())) if counted else nan
        ),
        tokens_per_word_by_label=(
            tokens_per_word(frame, dataset.special_tokens) if counted else {}
        ),
    )


def add_counts(frame: pl.DataFrame, count_tokens: CountTokens | None) -> pl.DataFrame:
    """``frame`` with the columns ``tokens`` and ``unknown``, null where nothing counts them."""
    if count_tokens is None:
        nothing = pl.lit(None, dtype=pl.Int64)
        return frame.with_columns(nothing.alias("tokens"), nothing.alias("unknown"))
    counts = count_tokens(frame["text"].to_list())
    return frame.with_columns(
        pl.Series("tokens", counts.tokens, dtype=pl.Int64),
        pl.Series("unknown", counts.unknown, dtype=pl.Int64),
    )


def _share_above(values: IntArray, limit: int) -> float:
    return float((values > limit).mean()) if len(values) else 0.0


def _quantile(values: IntArray, quantile: float) -> float:
    return float(np.quantile(values, quantile)) if len(values) else 0.0
