import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it.token import Token

from mlrun_assets.markdown import (
    Markdown,
    clean,
    code,
    escape,
    fenced,
    joined,
    plain,
    prose,
    visible,
    visible_json,
)
from mlrun_assets_tests.examples import POISON
from mlrun_assets_tests.reports.markdown_structure import PARSER, kinds

# Mostly the characters that mean something to Markdown.
TEXTS = st.text(
    st.sampled_from("\\`*_[]()~#$&<>|!-+=.:;'\"@ 01aé\n\t\u202e\u200b\x1b\x9b") | st.characters()
)


BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a\r\n\tb\x00c\u2028d\u202ee\u00a0f ", "a b c de f"),
        ("\x1b[31mred\x9b0m \udc80", "[31mred 0m"),
        ("\u2066a\u2069\u200e\u061c\u200b\u00ad\ufeff\U000e0041b", "ab"),
        ("\u0645\u06cc\u200c\u062e \u0601", "\u0645\u06cc\u200c\u062e \u0601"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_text_is_one_line_without_controls(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(TEXTS)
def test_visible_text_keeps_its_lines_and_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert shown.count("\n") == text.count("\n")
    assert {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"} <= {"Cc"}
    assert all(char in "\n\t" for char in shown if unicodedata.category(char) == "Cc")
    assert not any(unicodedata.bidirectional(char) in BIDI_CONTROLS for char in shown)


@given(TEXTS)
def test_visible_json_holds_the_same_text(text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")  # without surrogates
    line = visible_json(json.dumps(text, ensure_ascii=False).encode())
    assert json.loads(line) == text
    assert visible(line.decode()) == line.decode()


@given(TEXTS)
@example("`a|b``&lt;`")
@example("\\`a`")
def test_escaped_text_can_be_read_back(text: str) -> None:
    assert plain(escape(text)) == plain(prose(text)) == clean(text)


@given(TEXTS)
@example("`a-->`")
def test_escaped_text_closes_no_comment(text: str) -> None:
    assert "-->" not in f"{escape(text)}\n{prose(text)}"


def test_a_long_text_is_cut() -> None:
    assert clean("abc def", 5) == "abc…"
    assert clean("abc", 3) == "abc"
    assert escape("*" * 10, 4) == r"\*\*\*…"


def test_poison_is_poisonous() -> None:
    assert {"html_inline", "link_open", "image", "heading_open", "fence"} <= {*kinds(f"x {POISON}")}
