from __future__ import annotations

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
from mlrun_assets_tests.examples import POISON
from mlrun_assets_tests.reports.markdown_structure import PARSER, kinds

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


def test_scores_carry_their_interval() -> None:
    assert score(Score(value=0.9123, low=0.85, high=0.9561)) == "0.912 [0.850, 0.956]"
    assert score(0.5) == "0.500"
    assert score(None) == NOTHING


def test_differences_carry_their_sign() -> None:
    gain = Score(value=0.0182, low=-0.021, high=0.057)
    assert difference(gain) == "+0.018 [-0.021, +0.057]"
    assert difference(-0.5) == "-0.500"
    assert difference(None) == NOTHING


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, NOTHING),
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
    assert number(value) == shown


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
def test_0_and_100_percent_are_shown_only_where_exact(fraction: float, shown: str) -> None:
    assert percent(fraction) == shown


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
    assert seconds(value) == shown


def test_counts_sizes_and_digests() -> None:
    assert integer(1234567) == "1,234,567"
    assert integer(None) == percent(None) == seconds(None) == NOTHING
    assert megabytes(88_213_504) == "88.2 MB"
    assert digest("sha256:0123456789abcdef") == "`0123456789ab`"
