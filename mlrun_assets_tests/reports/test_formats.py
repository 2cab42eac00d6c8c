from __future__ import annotations

import pytest

from mlrun_assets.records import Score
from mlrun_assets.reports import formatting as formats


def test_scores_carry_their_interval() -> None:
    score = Score(value=0.9123, low=0.85, high=0.9561)
    assert formats.score(score) == "0.912 [0.850, 0.956]"
    assert formats.score(0.5) == "0.500"
    assert formats.score(None) == formats.NOTHING


def test_differences_carry_their_sign() -> None:
    gain = Score(value=0.0182, low=-0.021, high=0.057)
    assert formats.difference(gain) == "+0.018 [-0.021, +0.057]"
    assert formats.difference(-0.5) == "-0.500"
    assert formats.difference(None) == formats.NOTHING


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, formats.NOTHING),
        (3.0, "3"),
        (1021.0, "1,021"),
        (1021.4, "1,021"),
        (0.01, "0.01"),
        (52.25, "52.25"),
        (2e-5, "2e-05"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert formats.number(value) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.124, "12.4 %"),
        (0.9999, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_all_and_nothing_are_said_only_where_exact(fraction: float, shown: str) -> None:
    assert formats.percent(fraction) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.04, "0.0 s"),
        (119.9, "119.9 s"),
        (119.96, "2 min 00 s"),
        (7185.0, "119 min 45 s"),
        (7200.0, "2 h 00 min"),
        (90_061.0, "25 h 01 min"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert formats.seconds(value) == shown


def test_small_ones() -> None:
    assert formats.integer(1234567) == "1,234,567"
    assert (
        formats.integer(None) == formats.percent(None) == formats.seconds(None) == formats.NOTHING
    )
    assert formats.megabytes(88_213_504) == "88.2 MB"
    assert formats.digest("sha256:0123456789abcdef") == "`0123456789ab`"
    assert formats.p_value(0.0004) == "< 0.001"
    assert formats.p_value(0.043) == "= 0.043"
