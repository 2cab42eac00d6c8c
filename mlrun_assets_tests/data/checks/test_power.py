"""What a test split can show."""

from __future__ import annotations

import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.labels import test_power as judge_power
from mlrun_assets.records import QualityCheck
from mlrun_assets_tests.data.checks.test_checks import split_rows


def judge(labels: str, **settings: float) -> QualityCheck:
    rows = [(f"qoraal {number}", label) for number, label in enumerate(labels)]
    splits = {name: split_rows(name, rows) for name in ("train", "val", "test")}
    return judge_power(Dataset(splits, ("a", "b"), None, 128, DataConfig(quality=settings)))


def test_the_sentence_of_a_small_split() -> None:
    check = judge("ab" * 147)
    assert check.warns
    assert check.message == (
        "this test split of 294 rows can show differences of 5.5 points or more (5.5 points of "
        "macro-F1); for 3 points label about 700 more"
    )
    assert check.value == pytest.approx(0.0535, abs=0.0005)


def test_a_large_split_passes() -> None:
    check = judge("ab" * 500)
    assert not check.warns
    assert "differences of 3 points or more" in check.message


def test_a_rare_label_makes_macro_f1_harder_to_tell() -> None:
    check = judge("a" * 950 + "b" * 50)
    assert check.warns
    assert "3 points or more (7 points of macro-F1)" in check.message
    assert check.value == pytest.approx(0.0656, abs=0.0005)


def test_a_split_that_shows_what_is_wanted_needs_no_more_rows() -> None:
    check = judge("ab" * 147, max_detectable_difference=0.03, wanted_detectable_difference=0.06)
    assert check.warns
    assert "label" not in check.message


@pytest.mark.parametrize(("labels", "said"), [("ab", "no difference at all"), ("", "of 0 rows")])
def test_a_tiny_split_shows_nothing(labels: str, said: str) -> None:
    check = judge(labels)
    assert check.warns
    assert said in check.message
