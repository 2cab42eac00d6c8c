"""Texts that stand nearly the same in one split, or are known from another.

Near matches are compared with those of plain Python among all pairs.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks import near_duplicates as shingles
from mlrun_assets.data.checks.base import CheckResult, Dataset
from mlrun_assets.data.checks.leakage import containment, near_duplicates, split_leakage
from mlrun_assets.data.checks.near_duplicates import find_near_matches, near_pairs, shingle_sets
from mlrun_assets.data.text import duplicate_key
from mlrun_assets.records import CheckOutcome
from mlrun_assets_tests.examples import split_of


def words(name: str, count: int = 40) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def dataset(train: list[str], test: list[str]) -> Dataset:
    data = DataConfig()
    rows = {"train": train, "val": [words("val")], "test": test}
    splits = {name: split_of(name, texts, data) for name, texts in rows.items()}
    return Dataset(splits, ("a", "b"), None, 128, data)


def leaking(result: CheckResult, split: str) -> list[bool]:
    column = result.columns[split]
    assert column.name == "leaks"
    return column.to_list()


def test_a_text_with_one_word_more_is_a_near_duplicate() -> None:
    train = [words("a"), words("b"), words("a") + " dheeraad"]
    check = near_duplicates(dataset(train, [words("c")]))
    assert check.warns
    assert check.rows == 1
    assert "1 in train" in check.message


def test_different_texts_are_no_near_duplicates_and_short_ones_are_told() -> None:
    check = near_duplicates(dataset([words("a"), "waa gaaban", "waa gaaban yahay"], [words("c")]))
    assert not check.warns
    assert "2 texts of fewer than 5 words compared whole" in check.message


def test_a_near_match_in_train_blocks_and_the_row_is_marked() -> None:
    result = split_leakage(dataset([words("a")], [words("c"), words("a") + " dheeraad"]))
    assert result.check.blocks
    assert result.check.message.startswith("1 row of test with a near-duplicate in train")
    assert leaking(result, "test") == [False, True]
    assert leaking(result, "train") == [False]


def test_both_rows_of_a_leak_are_listed_with_their_similarity() -> None:
    train = [words("x"), words("a"), words("b", 20) + " " + words("x", 9)]
    test = [words("c"), words("a") + " dheeraad", words("a"), words("b", 20) + " " + words("y", 5)]
    leaks = split_leakage(dataset(train, test)).leaks
    listed = [(each["id"], each["other_id"], each["other_split"]) for each in leaks]
    assert listed == [
        (f"test-{row}", f"train-{other}", "train") for row, other in ((2, 1), (1, 1), (3, 2))
    ]
    assert [each["similarity"] for each in leaks] == pytest.approx([1.0, 36 / 37, 8 / 13])
    assert not any("text" in each for each in leaks)
    shown = split_leakage(replace(dataset(train, test), show_text=True)).leaks[0]
    assert shown["text"] == shown["other_text"] == words("a")


@pytest.mark.parametrize(("shared", "blocks"), [(36, True), (18, False)])
def test_a_long_passage_of_train_blocks_and_a_shorter_one_warns(shared: int, blocks: bool) -> None:
    passage = words("a", shared)
    result = split_leakage(
        dataset([passage + " " + words("b", 9)], [passage + " " + words("c", 20)])
    )
    assert result.check.blocks is blocks
    assert result.check.warns is not blocks
    assert "of their 13-grams with one row of train" in result.check.message
    assert leaking(result, "test") == [True]


def test_clean_splits_pass_and_no_row_is_marked() -> None:
    result = split_leakage(dataset([words("a")], [words("c"), "waa gaaban"]))
    assert result.check.outcome is CheckOutcome.PASSED
    assert leaking(result, "test") == [False, False]


def test_the_news_splits_leak_though_no_row_stands_twice(shared_data: Path) -> None:
    keys = {
        split: pl.Series(
            [
                duplicate_key(f"{row['headline']}\n{row['text']}")
                for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())
            ]
        )
        for split in ("train", "test")
        for file in [shared_data / "masakhanews_som" / f"{split}.jsonl"]
    }
    matches = find_near_matches(keys, 0.8)
    assert matches.equal("test", "train").is_empty()
    found = containment(keys["test"], keys["train"]).sort("similarity")
    assert int((found["similarity"] >= 0.1).sum()) == 4
    assert int((found["similarity"] >= 0.5).sum()) == 1
    row, other, share = found.row(-1)
    assert share == share_of(keys["test"][row], keys["train"].to_list())
    assert share == share_of(keys["test"][row], [keys["train"][other]])


def ngrams_of(key: str, words: int) -> set[str]:
    parts = key.split(" ")
    return {" ".join(parts[place : place + words]) for place in range(len(parts) - words + 1)}


def jaccard(one: str, two: str) -> float:
    first, second = (ngrams_of(key, 5) or {f"whole {key}"} for key in (one, two))
    return len(first & second) / len(first | second)


def share_of(key: str, sources: list[str]) -> float:
    own = ngrams_of(key, 13)
    return max(len(own & ngrams_of(source, 13)) / len(own) for source in sources) if own else 0.0


def keys_of(letters: str, most: int, **options: bool) -> st.SearchStrategy[list[str]]:
    key = st.lists(st.sampled_from(letters), min_size=1, max_size=most).map(" ".join)
    return st.lists(key, min_size=2, max_size=12, **options)


@given(keys_of("abcd", 9, unique=True))
def test_a_set_holds_each_shingle_once(keys: list[str]) -> None:
    sizes = np.diff(shingle_sets(pl.Series(keys)).offsets)
    assert sizes.tolist() == [len(ngrams_of(key, 5)) or 1 for key in keys]


@given(keys_of("abcd", 9, unique=True))
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
    keys = pl.Series([f"{words('a')} kan {number}" for number in range(300)])
    assert set(near_pairs(keys, 0.8).second.tolist()) == set(range(1, 300))


def test_near_matches_by_split() -> None:
    body = words("a", 30)
    matches = find_near_matches(
        {
            "train": pl.Series([f"{body} koow", "mid kale", f"{body} koow"]),
            "val": pl.Series(["mid kale", f"{body} laba"]),
            "test": pl.Series(["wax aan la aqoon"]),
        },
        0.8,
    )
    assert matches.equal("val", "train").rows() == [(0, 1, 1.0)]
    assert matches.near("val", "train").rows() == [(1, 0, 26 / 28)]
    assert matches.near("train", "val").rows() == [(0, 1, 26 / 28), (2, 1, 26 / 28)]
    assert matches.near("test", "train").is_empty()
    assert matches.repeated("train") == 0


@given(keys_of("ab", 24))
def test_containment_is_that_of_plain_python(keys: list[str]) -> None:
    sources = keys[len(keys) // 2 :]
    found = containment(pl.Series(keys), pl.Series(sources))
    shares = {row: share_of(key, sources) for row, key in enumerate(keys)}
    held = {row: share for row, share in shares.items() if share}
    assert dict(found.select("row", "similarity").iter_rows()) == pytest.approx(held)
    for row, other, share in found.iter_rows():
        assert share == pytest.approx(share_of(keys[row], [sources[other]]))


def test_containment_is_that_of_one_source_not_of_all() -> None:
    first, second = words("a", 20), words("b", 20)
    share = containment(pl.Series([f"{first} {second}"]), pl.Series([first, second]))
    assert share["similarity"].to_list() == pytest.approx([8 / 28])
