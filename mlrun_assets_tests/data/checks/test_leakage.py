"""Texts that stand nearly the same in one split, or are known from another."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import CheckResult, Dataset
from mlrun_assets.data.checks.leakage import containment, near_duplicates, split_leakage
from mlrun_assets.data.checks.near_duplicates import find_near_matches
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
    (column,) = result.columns[split]
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
    assert not matches.equal("test", "train").any()
    share = containment(keys["test"], keys["train"])
    assert int((share >= 0.1).sum()) == 4
    assert int((share >= 0.5).sum()) == 1
    worst = int(share.argmax())
    own = thirteens(keys["test"][worst])
    assert share[worst] == max(len(own & thirteens(key)) for key in keys["train"]) / len(own)


def thirteens(key: str) -> set[tuple[str, ...]]:
    parts = key.split(" ")
    return {tuple(parts[place : place + 13]) for place in range(len(parts) - 12)}
