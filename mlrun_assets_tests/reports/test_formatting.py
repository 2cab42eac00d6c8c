import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it.token import Token

from mlrun_assets.records import Score
from mlrun_assets.reports.formatting import (
    NOTHING,
    Markdown,
    clean,
    code,
    difference,
    digest,
    escape,
    fenced,
    integer,
    joined,
    megabytes,
    number,
    percent,
    prose,
    score,
    seconds,
)
from mlrun_assets.reports.tables import CELL_LIMIT, bullets, table
from mlrun_assets_tests.examples import POISON
from mlrun_assets_tests.reports.markdown_structure import PARSER, kinds, uneven_rows

# Mostly the characters that mean something to Markdown.
TEXTS = st.text(st.sampled_from("\\`*_[]()~#$&<>|!-+=.:;'\"@ 01aé\n\t\u202e") | st.characters())


def inline(markdown: str) -> list[Token]:
    found = [block.children for block in PARSER.parse(markdown) if block.type == "inline"]
    assert len(found) == 1
    return found[0] or []


@given(TEXTS)
@example(POISON)
@example("1. a")
@example("2)")
@example("+ a")
@example("---")
@example("=")
@example("&amp;")
@example("a_b_ _c_")
def test_escaped_text_shows_the_text_and_nothing_else(text: str) -> None:
    shown = clean(text)
    for before in ("", "# ", "- ", "x "):
        if not shown and not before.startswith("x"):
            continue
        line = inline(f"{before}{escape(text)}")
        assert {token.type for token in line} == {"text"}
        expected = f"x {shown}".rstrip() if before == "x " else shown
        assert "".join(token.content for token in line) == expected


@given(TEXTS)
def test_escaped_text_in_bold_stays_in_bold(text: str) -> None:
    line = inline(f"**{escape('a' + text + 'a')}**")
    assert [line[1].type, line[-2].type] == ["strong_open", "strong_close"]
    assert "".join(token.content for token in line) == clean(f"a{text}a")


@given(TEXTS)
def test_a_name_as_code_shows_the_name(text: str) -> None:
    line = inline(f"x {code(text)} x")
    assert "".join(token.content for token in line) == f"x {clean(text)} x"
    assert {token.type for token in line} <= {"text", "code_inline"}
    assert "|" not in code(text)


@given(TEXTS)
@example("run `mlrun-assets promote x`, or `a``b` or ` c `")
@example("`a`b`")
@example("\\`a`")
def test_backticks_in_prose_make_code_and_nothing_else(text: str) -> None:
    line = inline(f"x {prose(text)} x")
    assert {token.type for token in line} <= {"text", "code_inline"}
    shown = "".join(token.content for token in line)
    assert shown.replace("`", "") == f"x {clean(text)} x".replace("`", "")


def test_prose_keeps_commands_as_code() -> None:
    assert prose("Use `mlrun-assets promote` *now*.") == r"Use `mlrun-assets promote` \*now\*."
    assert prose(prose("`a` *b*")) == prose("`a` *b*")
    assert prose("- `a`") == r"\- `a`"


@given(TEXTS)
@example("a\n```\n# b\n````\n")
def test_a_fence_holds_whatever_is_inside(text: str) -> None:
    block = fenced(text, "text")
    parsed = PARSER.parse(f"before\n\n{block}\n\nafter")
    assert [token.type for token in parsed if token.nesting == 0] == ["inline", "fence", "inline"]
    (fence,) = [token for token in parsed if token.type == "fence"]
    assert fence.content.count("\n") == len(text.splitlines())


def test_markdown_is_not_escaped_twice() -> None:
    once = escape("a*b | <c>")
    assert once == r"a\*b &#124; &lt;c>"
    assert escape(once) == once
    assert joined([once, "*"]) == Markdown(rf"{once}, \*")


@pytest.mark.parametrize(
    "text", ["min_accuracy 0.85", "siyaasad", "val macro-F1 (best)", "p95 > 50 ms", "السياسة"]
)
def test_ordinary_text_stays_readable(text: str) -> None:
    assert escape(text) == text


def test_text_is_one_line_without_controls() -> None:
    assert clean(" a\r\n\tb\x00c\u2028d\u202ee\u00a0f ") == "a b c de f"


def test_a_long_text_is_cut() -> None:
    assert clean("abc def", 5) == "abc…"
    assert clean("abc", 3) == "abc"
    assert escape("*" * 10, 4) == r"\*\*\*…"


def test_poison_is_poisonous() -> None:
    assert {"html_inline", "link_open", "image", "heading_open", "fence"} <= {*kinds(f"x {POISON}")}


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
        (seconds(119.9), "119.9 s"),
        (seconds(119.96), "2 min 00 s"),
        (seconds(7185.0), "119 min 45 s"),
        (seconds(7200.0), "2 h 00 min"),
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
