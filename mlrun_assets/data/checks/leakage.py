"""Near-duplicates within a split, and leakage: texts, passages and groups in two splits."""

from __future__ import annotations

import numpy as np
import polars as pl

from mlrun_assets.config import extra_column
from mlrun_assets.data.checks.base import CheckResult, Dataset, Measured, judged
from mlrun_assets.data.checks.near_duplicates import SHINGLE_WORDS, chunks, ngrams
from mlrun_assets.errors import count
from mlrun_assets.records import SPLITS, QualityCheck, Severity
from mlrun_assets.types import BoolArray, FloatArray, HashArray, RowNumbers

NGRAM_WORDS = 13
_MOST_SOURCES = 20
_FILTER_BITS = 26


def containment(keys: pl.Series, sources: pl.Series) -> FloatArray:
    """For each of ``keys``: the largest share of its 13-grams that one of ``sources`` contains.

    Thirteen words in a row are hardly ever the same by chance (Brown et al., 2020, appendix C). A
    key with fewer words has none and gets 0. If more than 20 sources contain a 13-gram, only the
    first 20 count.
    """
    every = _shares(keys, sources, _MOST_SOURCES)
    shared = every.group_by("row").agg(pl.col("share").max()).collect()
    result = np.zeros(len(keys))
    result[shared["row"].to_numpy()] = shared["share"].to_numpy()
    return result


def holders(keys: pl.Series, sources: pl.Series, share: float) -> RowNumbers:
    """Rows of ``sources`` that contain at least ``share`` of the 13-grams of one of ``keys``."""
    held = _shares(keys, sources, None).filter(pl.col("share") >= share)
    return held.select(pl.col("source").unique().sort()).collect()["source"].to_numpy()


def _shares(keys: pl.Series, sources: pl.Series, most_sources: int | None) -> pl.LazyFrame:
    """Pairs that share 13-grams: row, source, and the share of the row's 13-grams in the source."""
    parts = [pl.DataFrame(schema={"row": pl.Int64, "hash": pl.UInt64})]
    for start, chunk in chunks(keys):
        hashes, rows = ngrams(chunk, NGRAM_WORDS)
        parts.append(pl.DataFrame({"row": rows + start, "hash": hashes}).unique())
    wanted = pl.concat(parts)
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


def _sources_of(wanted: HashArray, sources: pl.Series) -> pl.DataFrame:
    """The ``sources`` that contain the ``wanted`` hashes (ascending): columns hash and source."""
    low = np.uint64((1 << _FILTER_BITS) - 1)
    # One byte a slot sends nearly all n-grams away before the search in the sorted array.
    perhaps = np.zeros(1 << _FILTER_BITS, dtype=bool)
    perhaps[wanted & low] = True
    parts = [pl.DataFrame(schema={"source": pl.Int64, "hash": pl.UInt64})]
    for start, chunk in chunks(sources):
        hashes, rows = ngrams(chunk, NGRAM_WORDS)
        likely = np.flatnonzero(perhaps[hashes & low])
        hashes = hashes[likely]
        place = np.minimum(np.searchsorted(wanted, hashes), max(0, len(wanted) - 1))
        held = wanted[place] == hashes if len(wanted) else np.zeros(0, dtype=bool)
        parts.append(
            pl.DataFrame({"source": rows[likely][held] + start, "hash": hashes[held]}).unique()
        )
    return pl.concat(parts).sort("source")


_SPLIT_PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))


def near_duplicates(dataset: Dataset) -> QualityCheck:
    """No text of a split repeats another one with a few words changed."""
    threshold = dataset.config.quality.near_duplicate_similarity
    repeated = {name: dataset.near_duplicate_pairs.repeated(name) for name in dataset.splits}
    total = sum(repeated.values())
    words = dataset.every("key")["key"].str.count_matches(" ") + 1
    short = int((words < SHINGLE_WORDS).sum())
    note = (
        f" ({count(short, 'text')} of fewer than {SHINGLE_WORDS} words compared whole)"
        if short
        else ""
    )
    listed = ", ".join(f"{count} in {name}" for name, count in repeated.items() if count)
    return judged(
        "near_duplicates",
        Measured(total, 0, total),
        f"no two texts of a split share {threshold:.0%} of their 5-grams{note}",
        f"texts that share {threshold:.0%} or more of their 5-grams with an earlier one of their "
        f"split: {listed}; keep one of each group{note}",
    )


def split_leakage(dataset: Dataset) -> CheckResult:
    """No text, near-duplicate, long passage or group is in two splits.

    The rows of val and test that are known from elsewhere are marked in the column ``leaks``.
    """
    quality, pairs = dataset.config.quality, dataset.near_duplicate_pairs
    leaks = {name: np.zeros(len(dataset.keys(name)), dtype=bool) for name in SPLITS}
    blocking: list[str] = []
    warning: list[str] = []

    def note(split: str, rows: BoolArray, what: str, said: list[str] = blocking) -> None:
        leaks[split] |= rows
        if rows.any():
            said.append(f"{count(int(rows.sum()), 'row')} of {split} with {what}")

    for first, second in _SPLIT_PAIRS:
        note(second, pairs.equal(second, first), f"a text of {first}")
        note(second, pairs.near(second, first), f"a near-duplicate in {first}")
        if dataset.config.group_column:
            column = extra_column(dataset.config.group_column)
            groups = dataset.splits[first].frame[column].drop_nulls().unique()
            same = dataset.splits[second].frame[column].is_in(groups.implode())
            note(second, same.fill_null(value=False).to_numpy(), f"a group of {first}")
    for name in ("val", "test"):
        # A long passage of one training row, in rows that were not found yet.
        share = containment(dataset.keys(name), dataset.keys("train"))
        share[leaks[name]] = 0.0
        much = share >= quality.containment_blocks
        some = (share >= quality.containment_warns) & ~much
        what = "or more of their 13-grams with one row of train"
        note(name, much, f"{quality.containment_blocks:.0%} {what}")
        note(name, some, f"{quality.containment_warns:.0%} {what}", warning)
    rows = sum(int(marked.sum()) for marked in leaks.values())
    wrong = "; ".join([*blocking, *warning]) + "; keep each text in one split only"
    severity = Severity.ERROR if blocking else Severity.WARN
    measured = Measured(rows, 0, rows)
    return CheckResult(
        judged("split_leakage", measured, "no text is in two splits", wrong, severity),
        {name: pl.Series("leaks", marked) for name, marked in leaks.items()},
    )
