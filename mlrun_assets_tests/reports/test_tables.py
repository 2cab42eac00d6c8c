from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.reports.formatting import Markdown, clean
from mlrun_assets.reports.tables import CELL_LIMIT, bullets, table
from mlrun_assets_tests.reports.markdown_structure import PARSER, kinds, uneven_rows
from mlrun_assets_tests.reports.test_formatting import TEXTS


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4))
def test_a_table_shows_every_cell_and_nothing_else(rows: list[tuple[str, str, str]]) -> None:
    markdown = table(["a", "b", ">c"], rows)
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


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        table(["a", "b"], [["1"]])


def test_bullets() -> None:
    assert bullets(["# a\nb", Markdown("**c**")]) == "- \\# a b\n- **c**"
    assert kinds(bullets(["- a", "1. b"])).count("list_item_open") == 2
