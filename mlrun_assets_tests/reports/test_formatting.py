import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.markdown import Markdown, clean
from mlrun_assets.records import Score
from mlrun_assets.reports.formatting import (
    NOTHING,
    difference,
    digest,
    integer,
    megabytes,
    number,
    percent,
    score,
    seconds,
)
from mlrun_assets.reports.tables import CELL_LIMIT, bullets, table
from mlrun_assets_tests.reports.markdown_structure import PARSER, kinds, uneven_rows
from mlrun_assets_tests.test_markdown import TEXTS


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (score(Score(value=0.9123, low=0.85, high=0.9561)), "0.912 [0.850, 0.956]"),
        (score(0.5), "0.500"),
        (score(None), NOTHING),
        (difference(Score(value=0.0182, low=-0.021, high=0.057)), "+0.018 [-0.021, +0.057]"),
        (difference(-0.5), "-0.500"),
        (number(None), NOTHING),
        (number(3.0), "3"),
        (number(1021.4), "1,021"),
        (number(0.01), "0.01"),
        (number(52.25), "52.25"),
        (number(2e-5), "2e-05"),
        (number(math.inf), "inf"),
        (number(math.nan), "nan"),
        (percent(None), NOTHING),
        (percent(0.0), "0.0 %"),
        (percent(0.0001), "< 0.1 %"),
        (percent(0.124), "12.4 %"),
        (percent(0.9999), "> 99.9 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.004, 0), "< 1 %"),
        (seconds(None), NOTHING),
        (seconds(0.04), "0.0 s"),
        (seconds(59.9), "59.9 s"),
        (seconds(59.96), "1 min 00 s"),
        (seconds(3599.4), "59 min 59 s"),
        (seconds(3599.6), "1 h 00 min"),
        (seconds(90_061.0), "25 h 01 min"),
        (integer(1234567), "1,234,567"),
        (integer(None), NOTHING),
        (megabytes(88_213_504), "88.2 MB"),
        (digest("sha256:0123456789abcdef"), "`0123456789ab`"),
    ],
)
def test_numbers_times_and_digests(shown: Markdown, expected: str) -> None:
    assert shown == expected


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4))
def test_a_table_shows_every_cell_and_nothing_else(rows: list[tuple[str, str, str]]) -> None:
    markdown = table("a | b | >c", rows)
    parsed = PARSER.parse(f"before\n\n{markdown}\n\nafter")
    cells = [block.children or [] for block in parsed if block.type == "inline"][4:-1]
    assert uneven_rows(markdown) == []
    assert {token.type for cell in cells for token in cell} <= {"text"}
    assert ["".join(token.content for token in cell) for cell in cells] == [
        clean(cell, CELL_LIMIT) for row in rows for cell in row
    ]


def test_a_table() -> None:
    assert table(["a|b", ">n"], [["x | y", Markdown("**1**")], ["", "2"]]) == (
        "| a&#124;b | n |\n| --- | ---: |\n| x &#124; y | **1** |\n|  | 2 |"
    )
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        table("a | b", [["1"]])


def test_bullets() -> None:
    assert bullets(["# a\nb", Markdown("**c**")]) == "- \\# a b\n- **c**"
    assert kinds(bullets(["- a", "1. b"])).count("list_item_open") == 2
