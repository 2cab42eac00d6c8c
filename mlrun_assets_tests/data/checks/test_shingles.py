"""Near matches against a comparison of all pairs, in plain Python."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.data.checks import near_duplicates as shingles
from mlrun_assets.data.checks.leakage import containment
from mlrun_assets.data.checks.near_duplicates import (
    find_near_matches,
    near_pairs,
    ngrams,
    shingle_sets,
)

keys_of_words = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join),
    min_size=1,
    max_size=12,
    unique=True,
)


def ngrams_of(key: str, words: int) -> set[str]:
    parts = key.split(" ")
    return {" ".join(parts[place : place + words]) for place in range(len(parts) - words + 1)}


def jaccard(one: str, two: str) -> float:
    first, second = (ngrams_of(key, 5) or {f"whole {key}"} for key in (one, two))
    return len(first & second) / len(first | second)


@given(keys_of_words, st.integers(1, 6))
def test_ngrams_are_those_of_plain_python(keys: list[str], words: int) -> None:
    found = ngrams(pl.Series(keys), words)
    for row, key in enumerate(keys):
        assert len(set(found.hashes[found.rows == row])) == len(ngrams_of(key, words))


@given(keys_of_words)
def test_a_set_holds_each_shingle_once(keys: list[str]) -> None:
    sets = shingle_sets(pl.Series(keys))
    assert np.diff(sets.offsets).tolist() == [len(ngrams_of(key, 5)) or 1 for key in keys]


@given(keys_of_words)
def test_near_pairs_of_a_few_keys_are_those_of_all_pairs(keys: list[str]) -> None:
    expected = {
        (one, two)
        for one, two in combinations(range(len(keys)), 2)
        if jaccard(keys[one], keys[two]) >= 0.8
    }
    pairs = near_pairs(pl.Series(keys), 0.8)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected


def changed(words: list[str], count: int, generator: random.Random) -> str:
    place = generator.randrange(len(words) - count)
    return " ".join(words[:place] + ["isbeddel"] * count + words[place + count :])


def test_planted_near_matches_are_found_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shingles, "CHUNK_ROWS", 256)  # several chunks
    generator = random.Random(0)
    keys = []
    for number in range(400):
        words = [f"w{generator.randrange(50)}x{number % 7}" for _ in range(60)]
        keys += [" ".join(words), changed(words, 1 + number % 2, generator)]
    expected = {
        number for number in range(400) if jaccard(keys[2 * number], keys[2 * number + 1]) >= 0.8
    }
    pairs = near_pairs(pl.Series(keys), 0.8)
    assert {int(first) // 2 for first in pairs.first} == expected
    assert (pairs.second - pairs.first == 1).all()


def test_every_member_of_a_large_cluster_is_found() -> None:
    body = " ".join(f"eray{number}" for number in range(40))
    keys = pl.Series([f"{body} kan {number}" for number in range(300)])
    pairs = near_pairs(keys, 0.8)
    assert set(pairs.second.tolist()) == set(range(1, 300))


def test_near_matches_by_split() -> None:
    body = " ".join(f"eray{number}" for number in range(30))
    matches = find_near_matches(
        {
            "train": pl.Series([f"{body} koow", "mid kale", f"{body} koow"]),
            "val": pl.Series(["mid kale", f"{body} laba"]),
            "test": pl.Series(["wax aan la aqoon"]),
        },
        0.8,
    )
    assert matches.equal("val", "train").tolist() == [True, False]
    assert matches.near("val", "train").tolist() == [False, True]
    assert matches.near("train", "val").tolist() == [True, False, True]
    assert matches.near("test", "train").tolist() == [False]
    assert matches.repeated("train") == 0


def test_near_matches_of_nothing() -> None:
    empty = pl.Series([], dtype=pl.String)
    matches = find_near_matches({"train": empty, "val": empty}, 0.8)
    assert matches.equal("val", "train").tolist() == []
    assert matches.repeated("train") == 0


def share_of(key: str, sources: list[str]) -> float:
    own = ngrams_of(key, 13)
    return max(len(own & ngrams_of(source, 13)) / len(own) for source in sources) if own else 0.0


@given(
    st.lists(
        st.lists(st.sampled_from("ab"), min_size=1, max_size=24).map(" ".join),
        min_size=2,
        max_size=10,
    ),
)
def test_containment_is_that_of_plain_python(keys: list[str]) -> None:
    sources = keys[len(keys) // 2 :]
    shares = containment(pl.Series(keys), pl.Series(sources))
    assert shares.tolist() == pytest.approx([share_of(key, sources) for key in keys])


def test_containment_is_that_of_one_source_not_of_all() -> None:
    first, second = ([f"{name}{number}" for number in range(20)] for name in "ab")
    key = " ".join(first + second)
    sources = [" ".join(first), " ".join(second)]
    assert containment(pl.Series([key]), pl.Series(sources))[0] == pytest.approx(8 / 28)


def test_containment_without_sources_or_keys() -> None:
    empty = pl.Series([], dtype=pl.String)
    assert containment(pl.Series(["a b"]), empty).tolist() == [0.0]
    assert containment(empty, pl.Series(["a b"])).tolist() == []
