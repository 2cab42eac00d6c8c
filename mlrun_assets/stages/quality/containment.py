"""How much of a text stands in one other text: shared 13-grams of words."""

from __future__ import annotations

import numpy as np
import polars as pl

from mlrun_assets.arrays import FloatArray, HashArray, RowNumbers
from mlrun_assets.stages.quality.shingles import chunks, ngrams

NGRAM_WORDS = 13
_MOST_SOURCES = 20
_FILTER_BITS = 26


def containment(keys: pl.Series, sources: pl.Series) -> FloatArray:
    """For each of ``keys``: the largest share of its 13-grams that one of ``sources`` holds.

    Thirteen words in a row are hardly ever the same by chance (Brown et al., 2020, appendix C). A
    key with fewer words has none and gets 0. Of a 13-gram that stands in more than 20 sources the
    first 20 count.
    """
    most = _shares(keys, sources, _MOST_SOURCES).group_by("row").agg(pl.col("share").max())
    shared = most.collect()
    result = np.zeros(len(keys))
    result[shared["row"].to_numpy()] = shared["share"].to_numpy()
    return result


def holders(keys: pl.Series, sources: pl.Series, share: float) -> RowNumbers:
    """The rows of ``sources`` that hold ``share`` or more of the 13-grams of one of ``keys``."""
    held = _shares(keys, sources, None).filter(pl.col("share") >= share)
    return held.select(pl.col("source").unique().sort()).collect()["source"].to_numpy()


def _shares(keys: pl.Series, sources: pl.Series, most_sources: int | None) -> pl.LazyFrame:
    """Of each pair that shares 13-grams: row, source and the share of the row's that it holds."""
    wanted = pl.concat([_wanted(start, chunk) for start, chunk in chunks(keys)] or [_NOTHING])
    found = _sources_of(wanted["hash"].unique().sort().to_numpy(), sources)
    if most_sources is not None:
        found = found.filter(pl.int_range(pl.len()).over("hash") < most_sources)
    return (
        wanted.lazy()
        .join(found.lazy(), on="hash")
        .group_by("row", "source")
        .agg(pl.len().alias("shared"))
        .join(wanted.lazy().group_by("row").agg(pl.len().alias("all")), on="row")
        .select("row", "source", share=pl.col("shared") / pl.col("all"))
    )


_NOTHING = pl.DataFrame(schema={"row": pl.Int64, "hash": pl.UInt64})


def _wanted(start: int, keys: pl.Series) -> pl.DataFrame:
    found = ngrams(keys, NGRAM_WORDS)
    return pl.DataFrame({"row": found.rows + start, "hash": found.hashes}).unique()


def _sources_of(wanted: HashArray, sources: pl.Series) -> pl.DataFrame:
    """Which of ``sources`` hold the ``wanted`` hashes (ascending): columns hash and source."""
    low = np.uint64((1 << _FILTER_BITS) - 1)
    # One byte a slot sends nearly all n-grams away before the search in the sorted array.
    perhaps = np.zeros(1 << _FILTER_BITS, dtype=bool)
    perhaps[wanted & low] = True
    parts = [pl.DataFrame(schema={"source": pl.Int64, "hash": pl.UInt64})]
    for start, chunk in chunks(sources):
        found = ngrams(chunk, NGRAM_WORDS)
        likely = np.flatnonzero(perhaps[found.hashes & low])
        hashes = found.hashes[likely]
        place = np.minimum(np.searchsorted(wanted, hashes), max(0, len(wanted) - 1))
        held = wanted[place] == hashes if len(wanted) else np.zeros(0, dtype=bool)
        rows = found.rows[likely][held] + start
        parts.append(pl.DataFrame({"source": rows, "hash": hashes[held]}).unique())
    return pl.concat(parts).sort("source")
