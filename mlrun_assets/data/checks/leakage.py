"""Near-duplicates within a split, and leakage: texts, passages and groups in two splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.config import extra_column
from mlrun_assets.data.checks.base import CheckResult, Dataset, Measured, judged
from mlrun_assets.data.checks.near_duplicates import SHINGLE_WORDS, chunks, ngrams
from mlrun_assets.errors import count, percent
from mlrun_assets.records import SPLITS, QualityCheck, Severity
from mlrun_assets.types import HashArray, RowNumbers

NGRAM_WORDS = 13
_MOST_SOURCES = 20
_FILTER_BITS = 26


def containment(keys: pl.Series, sources: pl.Series) -> pl.DataFrame:
    """Of each of ``keys``: the one of ``sources`` that contains the largest share of its 13-grams.

    Columns: ``row``, ``other_row`` and the share as ``similarity``. Thirteen words in a row are
    hardly ever the same by chance (Brown et al., 2020, appendix C). A key with fewer words, or
    with none in common, is left out. If more than 20 sources contain a 13-gram, only the first 20
    count.
    """
    every = _shares(keys, sources, _MOST_SOURCES).sort("share", "source", descending=[True, False])
    largest = every.unique("row", keep="first").sort("row")
    return largest.select("row", other_row="source", similarity="share").collect()


def holders(keys: pl.Series, sources: pl.Series, share: float) -> RowNumbers:
    """Rows of ``sources`` that contain at least ``share`` of the 13-grams of one of ``keys``."""
    held = _shares(keys, sources, None).filter(pl.col("share") >= share)
    return held.select(pl.col("source").unique().sort()).collect()["source"].to_numpy()


def contained_pairs(keys: pl.Series, share: float) -> tuple[RowNumbers, RowNumbers]:
    """Rows of ``keys``, and for each another one that contains that share of its 13-grams.

    As in `containment`, a row is compared with the first 20 that contain a 13-gram.
    """
    shares = _shares(keys, keys, _MOST_SOURCES).filter(
        (pl.col("share") >= share) & (pl.col("row") != pl.col("source"))
    )
    found = shares.select("row", "source").sort("row", "source").collect()
    return found["row"].to_numpy(), found["source"].to_numpy()


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
        f"no two texts of a split share {percent(threshold, 0)} of their 5-grams{note}",
        f"texts that share {percent(threshold, 0)} or more of their 5-grams with an earlier one of "
        f"their split: {listed}; keep one of each group{note}",
    )


def split_leakage(dataset: Dataset) -> CheckResult:
    """No text, near-duplicate, long passage or group is in two splits.

    The rows of val and test that are known from elsewhere are marked in the column ``leaks``, and
    listed with the row that they are known from.
    """
    quality, pairs = dataset.config.quality, dataset.near_duplicate_pairs
    marked = {name: np.zeros(len(dataset.keys(name)), dtype=bool) for name in SPLITS}
    blocking: list[str] = []
    warning: list[str] = []
    listed: list[dict[str, object]] = []

    def note(kind: _Kind, partners: pl.DataFrame, said: list[str] = blocking) -> None:
        if partners.height:
            marked[kind.split][partners["row"].to_numpy()] = True
            said.append(f"{count(partners.height, 'row')} of {kind.split} with {kind.what}")
            listed.extend(_both_sides(dataset, kind, partners))

    for first, second in _SPLIT_PAIRS:
        note(_Kind(second, first, f"a text of {first}"), pairs.equal(second, first))
        note(_Kind(second, first, f"a near-duplicate in {first}"), pairs.near(second, first))
        if dataset.config.group_column:
            note(_Kind(second, first, f"a group of {first}"), _groups(dataset, second, first))
    for name in ("val", "test"):
        # A long passage of one training row, in rows that were not found yet.
        found = containment(dataset.keys(name), dataset.keys("train"))
        new = found.filter(~pl.Series(marked[name][found["row"].to_numpy()]))
        much = new.filter(pl.col("similarity") >= quality.containment_blocks)
        some = new.filter(
            pl.col("similarity").is_between(
                quality.containment_warns, quality.containment_blocks, closed="left"
            )
        )
        what = "or more of their 13-grams with one row of train"
        note(_Kind(name, "train", f"{percent(quality.containment_blocks, 0)} {what}"), much)
        note(_Kind(name, "train", f"{percent(quality.containment_warns, 0)} {what}"), some, warning)
    rows = sum(int(leaks.sum()) for leaks in marked.values())
    wrong = (
        "; ".join([*blocking, *warning])
        + "; keep each text in one split only (data/leaks.jsonl lists both rows): "
        "`mlrun-assets split FILE… --output DIR` makes such splits of all rows"
    )
    severity = Severity.ERROR if blocking else Severity.WARN
    measured = Measured(rows, 0, rows)
    return CheckResult(
        judged("split_leakage", measured, "no text is in two splits", wrong, severity),
        {name: pl.Series("leaks", leaks) for name, leaks in marked.items()},
        leaks=tuple(listed),
    )


class _Kind(NamedTuple):
    """How rows of ``split`` are known from ``other``; ``what`` completes "rows with"."""

    split: str
    other: str
    what: str


def _groups(dataset: Dataset, split: str, other: str) -> pl.DataFrame:
    """Rows of ``split`` whose group is in ``other``, and the first row of that group there."""
    group = pl.col(extra_column(str(dataset.config.group_column))).alias("group")
    rows, others = (dataset.splits[name].frame.select(group) for name in (split, other))
    first = others.with_row_index("other_row").unique("group", keep="first")
    found = rows.with_row_index("row").join(first, on="group", maintain_order="left")
    return found.select("row", "other_row", similarity=pl.lit(None, dtype=pl.Float64))


def _both_sides(
    dataset: Dataset, kind: _Kind, partners: pl.DataFrame
) -> Iterator[dict[str, object]]:
    """The leaking rows and their partners: split, file, line and id of both."""
    wanted = ("file", "line", "id", *(["text"] if dataset.show_text else []))
    sides = []
    for name, column in ((kind.split, "row"), (kind.other, "other_row")):
        frame = dataset.splits[name].frame
        columns = [each for each in wanted if each in frame.columns]
        sides.append(frame.select(pl.lit(name).alias("split"), *columns)[partners[column]])
    for row, other, similarity in zip(
        *(side.iter_rows(named=True) for side in sides), partners["similarity"], strict=True
    ):
        known_from = {f"other_{name}": value for name, value in other.items()}
        yield {**row, **known_from, "why": kind.what, "similarity": similarity}
