"""Splits that differ, and data that changed since the run before."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks import drift as shift
from mlrun_assets.data.checks.base import Dataset, Previous
from mlrun_assets.data.checks.drift import (
    drift_from_previous,
    label_shift,
    measure_shift,
    separability,
    split_drift,
)
from mlrun_assets_tests.data.checks.test_checks import Rows, split_rows


def rows_of(count: int, seed: int, vocabulary: str = "w", labels: str = "ab") -> Rows:
    generator = random.Random(seed)
    return [
        (
            " ".join(f"{vocabulary}{generator.randrange(60)}" for _ in range(12)),
            generator.choice(labels),
        )
        for _ in range(count)
    ]


def dataset(test: Rows, previous: dict[str, Rows] | None = None) -> Dataset:
    rows = {"train": rows_of(300, 0), "val": rows_of(100, 1), "test": test}
    splits = {name: split_rows(name, texts) for name, texts in rows.items()}
    frames = {
        name: split_rows(name, texts).frame.select("id", "text", "label")
        for name, texts in (previous or {}).items()
    }
    before = Previous("exp_1", frames) if frames else None
    return Dataset(splits, ("a", "b"), None, 128, DataConfig(), previous=before)


@pytest.mark.parametrize(
    ("count", "labels", "outcome", "said"),
    [
        (100, "ab", (False, False), "PSI 0.00"),
        (400, "aaabb", (False, False), "PSI 0.0"),
        (400, "aab", (True, False), "the labels differ (PSI 0."),
        (100, "aaaaaaab", (False, True), "test against train"),
    ],
)
def test_other_labels_in_test_warn_and_block(
    count: int, labels: str, outcome: tuple[bool, bool], said: str
) -> None:
    check = split_drift(dataset(rows_of(count, 2, labels=labels)))
    assert (check.warns, check.blocks) == outcome
    assert said in check.message


def test_other_words_in_test_block() -> None:
    check = split_drift(dataset(rows_of(100, 2, vocabulary="v")))
    assert check.blocks
    assert "a classifier separates the texts" in check.message
    assert "100 % of the words are new" in check.message


def test_longer_texts_warn() -> None:
    longer = [(f"{text} {text}", label) for text, label in rows_of(100, 2)]
    assert "the lengths differ (KS 1.00)" in split_drift(dataset(longer)).message


def test_an_empty_split_is_passed_over() -> None:
    assert split_drift(dataset([])).message.startswith("val against train")


def test_without_an_earlier_run_and_with_the_same_rows_there_is_no_drift() -> None:
    check = drift_from_previous(dataset(rows_of(100, 2)))
    assert check.message == "no earlier run on data of this name"
    assert check.value is None
    same = {"train": rows_of(300, 0), "val": rows_of(100, 1), "test": rows_of(100, 2)}
    check = drift_from_previous(dataset(rows_of(100, 2), same))
    assert check.message == "the rows are those of exp_1"


def test_changed_data_blocks_and_names_the_run() -> None:
    before = {name: rows_of(300, 5, vocabulary="v") for name in ("train", "val", "test")}
    check = drift_from_previous(dataset(rows_of(100, 2), before))
    assert check.blocks
    assert "train against exp_1" in check.message
    assert check.message.endswith("give the data another data.name if the change is meant")


def test_new_rows_of_the_same_kind_pass() -> None:
    before = {name: rows_of(200, 7) for name in ("train", "val", "test")}
    check = drift_from_previous(dataset(rows_of(100, 2), before))
    assert not check.warns and not check.blocks


def test_stability_index_and_divergence_by_hand() -> None:
    first = pl.Series(["a"] * 50_000 + ["b"] * 50_000)
    second = pl.Series(["a"] * 80_000 + ["b"] * 20_000)
    index, divergence = label_shift(first, second)
    assert index == pytest.approx(0.3 * np.log(1.6) + 0.3 * np.log(2.5), rel=1e-3)
    assert divergence == pytest.approx(0.0731, abs=0.0005)


def test_labels_drawn_from_one_source_are_hardly_ever_called_different() -> None:
    generator = np.random.default_rng(0)
    called = sum(
        label_shift(*(pl.Series(generator.choice(list("abcdefg"), 60)) for _ in range(2)))[0] > 0
        for _ in range(200)
    )
    assert called <= 8


def test_a_label_that_is_gone_leaves_the_index_finite() -> None:
    index, _ = label_shift(pl.Series(["a", "b"] * 50), pl.Series(["a"] * 100))
    assert 0.25 < index < 20


def test_few_texts_are_not_classified() -> None:
    texts = pl.Series([f"qoraal {number}" for number in range(60)])
    assert separability(texts, texts[:40]) is None
    assert separability(texts, texts) is not None


def test_large_sets_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "MOST_ROWS", 90)
    frames = [split_rows("train", rows_of(100, seed)).frame for seed in (0, 1)]
    assert measure_shift(*frames).unseen_words == pytest.approx(0.0)
