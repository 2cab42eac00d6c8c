"""Near-duplicates: pairs of texts whose word 5-grams have a high Jaccard similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.types import BoolArray, FloatArray, HashArray, IntArray, RowNumbers, Uint32Array

CHUNK_ROWS = 1 << 16
HASH_BITS = np.uint64(48)
SHINGLE_WORDS = 5
BANDS = 32
PERMUTATIONS = 128
_SEED = 42
_NEIGHBOURS = 8
_SLACK = 0.2
_ODD = np.uint64(0x9E3779B97F4A7C15)
_LOW_BITS = np.uint64((1 << 48) - 1)


def ngrams(keys: pl.Series, words: int) -> tuple[HashArray, RowNumbers]:
    """All n-grams of ``keys`` in their order, as 48-bit hashes, and the row of each.

    A key with fewer words has none.
    """
    split = keys.str.split(" ")
    lengths = split.list.len().to_numpy().astype(np.int64)
    hashes = split.explode().hash(seed=_SEED).to_numpy()
    rows = np.repeat(np.arange(len(keys)), lengths)
    places = max(0, len(hashes) - words + 1)
    rolled = np.zeros(places, dtype=np.uint64)
    for place in range(words):
        rolled = rolled * _ODD + hashes[place : place + places]
    whole = rows[:places] == rows[words - 1 :]
    return _mixed(rolled[whole]), rows[:places][whole]


@dataclass(frozen=True)
class ShingleSets:
    """The set of n-grams of each key: ``hashes[offsets[row]:offsets[row + 1]]``, ascending."""

    hashes: HashArray
    offsets: IntArray

    def take(self, rows: RowNumbers) -> ShingleSets:
        """The sets of ``rows``, in that order."""
        lengths = np.diff(self.offsets)[rows]
        ends = np.cumsum(lengths)
        index = np.arange(lengths.sum()) + np.repeat(self.offsets[rows] - (ends - lengths), lengths)
        return ShingleSets(self.hashes[index], np.concatenate([[0], ends]))


def shingle_sets(keys: pl.Series) -> ShingleSets:
    """The word 5-grams of each key; a key of fewer words is one shingle, equal to itself alone."""
    sets, counts = [], []
    for _, chunk in chunks(keys):
        hashes, rows = ngrams(chunk, SHINGLE_WORDS)
        short = np.setdiff1d(np.arange(len(chunk)), rows)
        whole = _mixed(chunk.gather(short).hash(seed=_SEED + 1).to_numpy())
        rows = np.concatenate([rows, short]).astype(np.uint64)
        keyed = np.sort((rows << HASH_BITS) | np.concatenate([hashes, whole]))
        keyed = keyed[np.concatenate([[True], keyed[1:] != keyed[:-1]])] if len(keyed) else keyed
        sets.append(keyed & _LOW_BITS)
        counts.append(np.bincount((keyed >> HASH_BITS).astype(np.int64), minlength=len(chunk)))
    lengths = np.concatenate([[0], *counts]).astype(np.int64)
    return ShingleSets(np.concatenate([*sets, np.zeros(0, np.uint64)]), np.cumsum(lengths))


class Pairs(NamedTuple):
    """Pairs of rows, the first before the second, and their Jaccard similarity."""

    first: RowNumbers
    second: RowNumbers
    similarity: FloatArray


def near_pairs(keys: pl.Series, threshold: float) -> Pairs:
    """Pairs of distinct ``keys`` whose 5-grams have a Jaccard similarity of ``threshold`` or more.

    Candidate pairs come from MinHash with 32 bands of 4 (Broder, 1997; Leskovec et al., Mining of
    Massive Datasets, chapter 3): at a similarity of 0.8 one pair in 20 million is missed. Each
    candidate is compared exactly. In a band that many keys share, a key is paired with the first
    of them and with its nearest neighbours only: every member of a cluster is found, not every
    pair.
    """
    sets = shingle_sets(keys)
    colliding = _colliding(sets)
    signatures = _signatures(sets.take(colliding))
    candidates = _candidates(signatures)
    first, second = candidates // len(colliding), candidates % len(colliding)
    compared = [np.zeros(0)]
    for start in range(0, len(candidates), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        estimate = (signatures[first[part]] == signatures[second[part]]).mean(axis=1)
        likely = np.flatnonzero(estimate >= threshold - _SLACK)
        exact = np.zeros(len(estimate))
        exact[likely] = _jaccard(
            sets, colliding[first[part][likely]], colliding[second[part][likely]]
        )
        compared.append(exact)
    similarity = np.concatenate(compared)
    near = np.flatnonzero(similarity >= threshold)
    return Pairs(colliding[first[near]], colliding[second[near]], similarity[near])


def chunks(keys: pl.Series) -> Iterator[tuple[int, pl.Series]]:
    """``keys`` in pieces of `CHUNK_ROWS`, each with the row that it starts at."""
    for start in range(0, len(keys), CHUNK_ROWS):
        yield start, keys.slice(start, CHUNK_ROWS)


def _mixed(hashes: HashArray) -> HashArray:
    """48 well-mixed bits, so that a row's number fits above them."""
    hashes = hashes ^ (hashes >> np.uint64(32))
    return (hashes * _ODD) >> np.uint64(16)


def _colliding(sets: ShingleSets) -> RowNumbers:
    """The rows that share a band with another row, ascending."""
    from rensa import RMinHashLSH

    if len(sets.offsets) < 2:
        return np.zeros(0, dtype=np.int64)
    index = RMinHashLSH(threshold=0.8, num_perm=PERMUTATIONS, num_bands=BANDS)
    return np.flatnonzero(index.query_duplicate_flags_matrix_one_shot(_digest(sets)))


def _signatures(sets: ShingleSets) -> Uint32Array:
    """MinHash signatures, shape (rows, `PERMUTATIONS`)."""
    rows = len(sets.offsets) - 1
    result = np.zeros((rows, PERMUTATIONS), dtype=np.uint32)
    step = CHUNK_ROWS // 4
    for start in range(0, rows, step):
        part = np.arange(start, min(start + step, rows))
        result[part] = _digest(sets.take(part)).to_rows()
    return result


def _digest(sets: ShingleSets) -> Any:
    """MinHash signatures as rensa keeps them."""
    from rensa import RMinHash

    offsets = sets.offsets.astype(np.uint64)
    return RMinHash.digest_matrix_from_flat_token_hashes(sets.hashes, offsets, PERMUTATIONS, _SEED)


def _candidates(signatures: Uint32Array) -> RowNumbers:
    """Pairs of rows that share a band, each as first times rows + second, ascending."""
    rows = len(signatures)
    found = np.zeros(0, dtype=np.int64)
    for band in np.split(signatures, BANDS, axis=1):
        bucket = np.zeros(rows, dtype=np.uint64)
        for column in band.T:
            bucket = (bucket ^ column) * _ODD
        order = np.argsort(bucket, kind="stable")
        bucket = bucket[order]
        starts = np.concatenate([[True], bucket[1:] != bucket[:-1]])[:rows]
        leader = np.maximum.accumulate(np.where(starts, np.arange(rows), 0))
        pairs = [(order[leader] * rows + order)[~starts]]
        for distance in range(1, _NEIGHBOURS + 1):
            same = bucket[distance:] == bucket[:-distance]
            pairs.append((order[:-distance] * rows + order[distance:])[same])
        found = np.union1d(found, np.concatenate(pairs))
    return found


def _jaccard(sets: ShingleSets, first: RowNumbers, second: RowNumbers) -> FloatArray:
    """Exact similarity of at most `CHUNK_ROWS` pairs of rows."""
    pair = np.arange(len(first), dtype=np.uint64)
    sizes = np.diff(sets.offsets)
    left, right = sizes[first], sizes[second]
    parts = [
        (np.repeat(pair, count) << HASH_BITS) | sets.take(rows).hashes
        for rows, count in ((first, left), (second, right))
    ]
    keyed = np.sort(np.concatenate(parts))
    shared = keyed[1:][keyed[1:] == keyed[:-1]] >> HASH_BITS
    both = np.bincount(shared.astype(np.int64), minlength=len(first))
    return np.asarray(both / (left + right - both))


@dataclass(frozen=True)
class NearDuplicates:
    """The distinct keys of a dataset as numbers, and the pairs of near-duplicates among them.

    ``numbers``: of each split, the key of each row. ``held``: of each split, which keys it has.
    """

    numbers: dict[str, RowNumbers]
    held: dict[str, BoolArray]
    pairs: Pairs

    def equal(self, split: str, other: str) -> pl.DataFrame:
        """Rows of ``split`` whose key is also in ``other``, as in `_partners`."""
        every = np.arange(len(self.held[other]))
        return self._partners(split, other, Pairs(every, every, np.ones(len(every))))

    def near(self, split: str, other: str) -> pl.DataFrame:
        """Rows of ``split`` with a near-duplicate, and no equal text, in ``other``."""
        one, two, similarity = self.pairs
        first, second = np.concatenate([one, two]), np.concatenate([two, one])
        new = ~self.held[other][first]
        similarities = np.concatenate([similarity, similarity])
        return self._partners(split, other, Pairs(first[new], second[new], similarities[new]))

    def _partners(self, split: str, other: str, pairs: Pairs) -> pl.DataFrame:
        """``row`` of ``split``, its nearest ``other_row`` of ``other``, and their ``similarity``.

        Rows without a partner among ``pairs`` are left out.
        """
        rows = pl.DataFrame({"first": self.numbers[split]}).with_row_index("row")
        others = pl.DataFrame({"second": self.numbers[other]}).with_row_index("other_row")
        nearest = (
            pl.DataFrame(pairs._asdict())
            .join(others.unique("second", keep="first"), on="second")
            .sort("similarity", "other_row", descending=[True, False])
            .unique("first", keep="first")
        )
        found = rows.join(nearest, on="first", maintain_order="left")
        return found.select("row", "other_row", "similarity")

    def repeated(self, split: str) -> int:
        """Distinct keys of ``split`` that are near-duplicates of an earlier one."""
        held = self.held[split]
        inside = held[self.pairs.first] & held[self.pairs.second]
        return len(np.unique(self.pairs.second[inside]))


def find_near_matches(keys: dict[str, pl.Series], threshold: float) -> NearDuplicates:
    """Find the near-duplicates among the keys of several splits."""
    every = pl.concat([series.alias("key") for series in keys.values()]).to_frame()
    distinct = every.unique(maintain_order=True).with_row_index("number")
    numbers = every.join(distinct, on="key", how="left", maintain_order="left")["number"]
    ends = np.cumsum([len(series) for series in keys.values()])[:-1]
    of_split = dict(zip(keys, np.split(numbers.to_numpy().astype(np.int64), ends), strict=True))
    held = {}
    for split, rows in of_split.items():
        held[split] = np.zeros(distinct.height, dtype=bool)
        held[split][rows] = True
    return NearDuplicates(of_split, held, near_pairs(distinct["key"], threshold))
