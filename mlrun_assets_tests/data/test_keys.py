import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.data import text as keys
from mlrun_assets.data.text import duplicate_key, first_words, shorten


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Haaaaaaa waa fiicaaaan", "haa waa fiicaan"),
        ("go\u00b4aan", "go'aan"),
        ("HAA?! waa... run", "haa waa run"),
    ],
)
def test_emphasis_is_not_a_difference(one: str, other: str) -> None:
    assert duplicate_key(one) == duplicate_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1000 qof", "100 qof"), ("कि", "का"), ("si", "siii"), ("10-ka", "1-ka")]
)
def test_numbers_and_vowel_signs_tell_words_apart(one: str, other: str) -> None:
    assert duplicate_key(one) != duplicate_key(other)


@given(st.text(st.sampled_from("abC'\u2019\u02bc\u00b4` .!\u00a01\u0301ΐİß"), max_size=12))
def test_a_key_of_tricky_characters_is_its_own_key(text: str) -> None:
    key = duplicate_key(text)
    assert duplicate_key(key) == key
    assert key == " ".join(key.split())


@given(st.text(st.characters(codec="ascii"), max_size=20))
def test_the_short_way_for_ascii_gives_the_same_key(text: str) -> None:
    assert keys._ascii_key(text) == keys._unicode_key(text)
