"""Labels that the other rows contradict."""

from __future__ import annotations

import random
import subprocess
import sys

import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks import labels as module
from mlrun_assets.data.checks.base import CheckResult, Dataset
from mlrun_assets.data.checks.labels import label_noise
from mlrun_assets.data.reading import SplitRows
from mlrun_assets_tests.data.checks.test_checks import split_rows

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


def flipped(rows: list[tuple[str, str]], which: list[int]) -> list[tuple[str, str]]:
    other = {"sports": "health", "health": "sports"}
    return [
        (text, other[label] if number in which else label)
        for number, (text, label) in enumerate(rows)
    ]


def test_flipped_labels_are_suspected_and_listed_with_a_suggestion() -> None:
    result = judge(flipped(rows_of(100, 0), [3, 14, 15, 92]), max_suspected_fraction=0.01)
    assert result.check.warns
    assert {row["id"] for row in result.review} == {f"train-{n}" for n in (3, 14, 15, 92)}
    for row in result.review:
        assert row["split"] == "train"
        assert row["suggested"] != row["label"]
        assert 0.0 < float(str(row["margin"])) <= 1.0
        assert "text" not in row


def test_sound_labels_pass() -> None:
    result = judge(rows_of(100, 0), max_suspected_fraction=0.01)
    assert not result.check.warns
    assert result.review == ()


def test_equal_texts_with_unequal_labels_name_both_places() -> None:
    text = rows_of(30, 1)[0][0]
    label = rows_of(30, 1)[0][1]
    other = "health" if label == "sports" else "sports"
    result = judge([*rows_of(60, 0), (text, other)], show_text=True)
    listed = {row["id"]: row for row in result.review if row["why"].startswith("equal text")}
    assert set(listed) == {"train-60", "val-0"}
    assert listed["train-60"]["other_id"] == "val-0"
    assert listed["train-60"]["other_split"] == "val"
    assert listed["train-60"]["suggested"] == label
    assert listed["train-60"]["text"] == text


def test_a_sample_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 80)
    assert "80 sampled rows" in judge(rows_of(100, 0)).check.message


def test_too_few_rows_are_not_measured() -> None:
    splits = {name: split_rows(name, [("mid", "a")] * 3) for name in ("train", "val", "test")}
    result = label_noise(Dataset(splits, ("a",), None, 128, DataConfig()))
    assert result.check.value is None
    assert result.check.message.startswith("not measured")
    empty = {name: rows_without_any(name) for name in splits}
    assert label_noise(Dataset(empty, ("a",), None, 128, DataConfig())).check.value is None


def rows_without_any(name: str) -> SplitRows:
    rows = split_rows(name, [("mid", "a")])
    rows.frame = rows.frame.filter(pl.lit(value=False))
    return rows


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, mlrun_assets.data.checks.suite\n"
        "print([name for name in ('cleanlab', 'sklearn', 'scipy', 'rensa') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
