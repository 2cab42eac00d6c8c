import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.text import duplicate_key, first_words, shorten


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Waa la arkay!", "waa la arkay"),
        ("lo\u2019 iyo ri'", "Lo' iyo ri\u2019"),
        ("M\ufeffareykanku wuu", "Mareykanku  wuu."),
        ("a\u00a0b", "a b"),
        ("go\u02bbaan", "go'aan"),
    ],
)
def test_texts_that_readers_call_the_same_share_a_key(one: str, other: str) -> None:
    assert duplicate_key(one) == duplicate_key(other)


@pytest.mark.parametrize(("one", "other"), [("si", "sii"), ("lo'", "lo a"), ("bad", "badh")])
def test_vowel_length_and_glottal_stops_tell_words_apart(one: str, other: str) -> None:
    assert duplicate_key(one) != duplicate_key(other)


@given(st.text())
def test_a_key_is_its_own_key(text: str) -> None:
    key = duplicate_key(text)
    assert duplicate_key(key) == key


@given(st.text(), st.integers(1, 40))
def test_shortened_text_is_one_line_of_the_length(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert len(short.splitlines()) <= 1


def test_first_words() -> None:
    assert first_words("  a  b\nc d ", 3) == "a b c"
    assert first_words("a", 3) == "a"
