"""Labels that the other rows contradict; hashed n-grams against those of scikit-learn."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks import labels as module
from mlrun_assets.data.checks.base import CheckResult, Dataset
from mlrun_assets.data.checks.labels import character_ngrams, label_noise
from mlrun_assets.records import CheckOutcome
from mlrun_assets_tests.data.checks.test_checks import split_rows
from mlrun_assets_tests.examples import sample_rows

TOPICS = {
    "sports": "kubadda cagta kooxda garoonka ciyaartoy gool tartan horyaal",
    "health": "caafimaadka dhakhtar cudurka tallaal isbitaal daawo bukaan xanuun",
}


def rows_of(count: int, seed: int) -> list[tuple[str, str]]:
    generator = random.Random(seed)
    return [
        (" ".join(generator.choices(TOPICS[label].split(), k=8)) + f" {number}", label)
        for number, label in enumerate(generator.choices(list(TOPICS), k=count))
    ]


def judge(train: list[tuple[str, str]], **settings: object) -> CheckResult:
    rows = {"train": train, "val": rows_of(30, 1), "test": rows_of(30, 2)}
    splits = {name: split_rows(name, texts) for name, texts in rows.items()}
    show_text = bool(settings.pop("show_text", False))
    data = DataConfig(quality=settings)
    return label_noise(Dataset(splits, tuple(TOPICS), None, 128, data, show_text=show_text))


def other(label: str) -> str:
    return "health" if label == "sports" else "sports"


def test_flipped_labels_are_suspected_and_listed_with_a_suggestion() -> None:
    rows, which = rows_of(100, 0), (3, 14, 15, 92)
    for number in which:
        rows[number] = (rows[number][0], other(rows[number][1]))
    result = judge(rows, max_suspected_fraction=0.01)
    assert result.check.warns
    assert {row["id"] for row in result.review} == {f"train-{number}" for number in which}
    for row in result.review:
        assert row["split"] == "train"
        assert row["suggested"] == other(str(row["label"]))
        assert 0.0 < float(str(row["margin"])) <= 1.0
        assert "text" not in row


def test_sound_labels_pass() -> None:
    result = judge(rows_of(100, 0), max_suspected_fraction=0.01)
    assert not result.check.warns
    assert result.review == ()


def test_equal_texts_with_unequal_labels_name_both_places() -> None:
    text, label = rows_of(30, 1)[0]
    result = judge([*rows_of(60, 0), (text, other(label))], show_text=True)
    listed = {row["id"]: row for row in result.review if row["why"].startswith("equal text")}
    assert set(listed) == {"train-60", "val-0"}
    expected = {"other_id": "val-0", "other_split": "val", "suggested": label, "text": text}
    assert expected.items() <= listed["train-60"].items()


def test_a_sample_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 80)
    assert "80 sampled rows" in judge(rows_of(100, 0)).check.message


def test_a_model_that_is_too_large_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WEIGHTS", 100)
    text, label = rows_of(30, 1)[0]
    result = judge([*rows_of(100, 0), (text, other(label))])
    assert result.check.outcome is CheckOutcome.OFF
    assert result.check.message.startswith("not measured: 2 labels x ")
    assert len(result.review) == 2  # conflicts are listed all the same


def test_too_few_rows_are_not_measured() -> None:
    splits = {name: split_rows(name, [("mid", "a")] * 3) for name in ("train", "val", "test")}
    result = label_noise(Dataset(splits, ("a",), None, 128, DataConfig()))
    assert result.check.value is None
    assert result.check.message.startswith("not measured")


def test_similarities_are_those_of_char_wb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 30)  # several chunks
    # scikit-learn repeats a word that is shorter than the n-gram; such words are left out.
    texts = [
        " ".join(word for word in row["text"].split() if len(word) > 3)
        for row in sample_rows("val")
    ]
    ours = character_ngrams(pl.Series(texts))
    theirs = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2
    ).fit_transform(texts)
    difference = np.abs((ours @ ours.T).toarray() - (theirs @ theirs.T).toarray())
    assert difference.max() < 0.02


@pytest.mark.parametrize("texts", [["", "waa"], ["koow", "laba"], ["", ""]])
def test_texts_that_share_nothing(texts: list[str]) -> None:
    found = character_ngrams(pl.Series(texts))
    assert [bool(count) for count in found.getnnz(axis=1)] == [bool(text) for text in texts]
