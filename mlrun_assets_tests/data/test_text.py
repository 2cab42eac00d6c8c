"""Normal form, keys of equal texts, languages."""

import unicodedata

import pycld2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langcodes import Language, tag_is_valid
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from mlrun_assets.data import text as keys
from mlrun_assets.data.text import (
    ALL_STEPS,
    Step,
    duplicate_key,
    first_words,
    language_profile,
    language_tag,
    normalise,
    shorten,
)

# Letters, what looks like an apostrophe, what is invisible, white space and combining marks.
TRICKY = st.text(
    st.one_of(
        st.sampled_from("aAsiioo'\u2019\u2018\u02bc\u02bb`\u00b4\u1fef\uff40 \u00a0\u202f\n\t\r"),
        st.sampled_from("\u200b\ufeff\u00ad\u0301\u0323\u00e9e.10-\u2028\x1c"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)
STEPS = st.sampled_from([ALL_STEPS, language_profile("swa").steps, frozenset({Step.WHITE_SPACE})])


@pytest.mark.parametrize(
    ("stored", "normal", "changes"),
    [
        ("lo\u2019da iyo go`aan", "lo'da iyo go'aan", {Step.APOSTROPHE: 2}),
        ("M\ufeffareykanku", "Mareykanku", {Step.BYTE_ORDER_MARK: 1}),
        ("dho\u00adweyd \u200bwaa", "dhoweyd waa", {Step.SOFT_HYPHEN: 1, Step.ZERO_WIDTH_SPACE: 1}),
        ("waa\u00a0la arkay", "waa la arkay", {Step.NO_BREAK_SPACE: 1}),
        ("  waa \t la  arkay ", "waa la arkay", {Step.WHITE_SPACE: 3}),
        ("Cinwaan\nwaa\n\nkan", "Cinwaan waa kan", {Step.LINE_BREAK: 1, Step.WHITE_SPACE: 1}),
        ("cafe\u0301", "café", {Step.NFC: 1}),
    ],
)  # fmt: skip
def test_safe_changes_are_made_and_counted(
    stored: str, normal: str, changes: dict[Step, int]
) -> None:
    assert normalise(stored) == (normal, changes)


@pytest.mark.parametrize(
    "text",
    [
        "si sii saar sar",
        "lo' iyo go'aan 'oo ri'",
        "baay bay bey",
        "dhagax khamiis shan",
        "10-ka Sebteembar 2-dii",
        "wuxuu yiri \u2018haa\u2019, kadibna \u2019aamus\u2019",
        "HAA!!! aaaaad... u fiican",
    ],
)
def test_spelling_and_quotation_marks_stay(text: str) -> None:
    assert normalise(text) == (text, {})


@given(TRICKY, STEPS)
def test_normalising_twice_is_normalising_once_and_changes_are_counted(
    text: str, steps: frozenset[Step]
) -> None:
    result = normalise(text, steps)
    assert normalise(result.text, steps) == (result.text, {})
    assert bool(result.changes) == (result.text != text)
    assert set(result.changes) <= steps | {Step.LINE_BREAK}


@given(TRICKY)
def test_what_is_stored_is_composed_and_single_spaced(text: str) -> None:
    stored = normalise(text).text
    assert unicodedata.is_normalized("NFC", stored)
    assert stored == " ".join(stored.split())
    assert not set("\u200b\ufeff\u00ad\u00a0") & set(stored)


@given(TRICKY)
def test_letters_apostrophes_digits_and_case_are_kept(text: str) -> None:
    def kept(value: str) -> str:
        visible = value.translate(dict.fromkeys(map(ord, "\u200b\ufeff\u00ad")))
        composed = unicodedata.normalize("NFC", visible)
        return "".join(
            "'" if character in "'\u2019\u2018\u02bc\u02bb`\u00b4" else character
            for character in composed
            if not character.isspace()
        )

    assert kept(normalise(text).text) == kept(text)


def test_a_long_run_of_white_space_is_one_run() -> None:
    assert normalise("a" + " " * 300_000 + "b").text == "a b"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Waa la arkay!", "waa la arkay"),
        ("lo\u2019 iyo ri'", "Lo' iyo ri\u2019"),
        ("M\ufeffareykanku wuu", "Mareykanku  wuu."),
        ("a\u00a0b", "a b"),
        ("go\u02bbaan", "go'aan"),
        ("go\u00b4aan", "go'aan"),
        ("HAAAAAAA?! waa... fiicaaaan", "haa waa fiicaan"),
        ("ሰላም። ነው፡", "ሰላም ነው"),
        ("Waa run😀😀😀", "waa run 😀"),
        ("\u2764\ufe0f 👍🏽", "\u2764 👍"),
        ("\u200fwaa\u2067 run", "waa run"),
        ("waa run :-)))", "waa run :)"),
        ("...!!!", "…!"),
    ],
)
def test_texts_that_readers_call_the_same_share_a_key(one: str, other: str) -> None:
    assert duplicate_key(one) == duplicate_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("si", "sii"),
        ("lo'", "lo a"),
        ("bad", "badh"),
        ("1000 qof", "100 qof"),
        ("कि", "का"),
        ("si", "siii"),
        ("10-ka", "1-ka"),
        ("😀😍🎉", "😡🤬"),
        ("Waa run 😀", "Waa run 😡"),
        ("Waa run 😀", "Waa run"),
        ("waa run :)", "waa run :-("),
        ("???? ወረኛ", "ወረኛ"),
        ("????", "!!!"),
        ("\ufffd waa", "waa"),
        ("+5", "5"),
        ("𞤀𞥄", "𞤀"),
        ("\U0001fae9", "\U0001fae8"),  # newer than the Unicode of Python 3.11
    ],
)
def test_what_tells_words_and_texts_apart_is_in_the_key(one: str, other: str) -> None:
    assert duplicate_key(one) != duplicate_key(other)


@given(st.text(), st.integers(1, 40))
def test_shortened_text_is_one_line_of_the_length(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert len(short.splitlines()) <= 1


def test_first_words() -> None:
    assert first_words("  a  b\nc d ", 3) == "a b c"
    assert first_words("a", 3) == "a"


@given(
    st.text()
    | st.text(st.sampled_from("abC'\u2019\u02bc\u00b4` .!\u00a01\u0301ΐİß"), max_size=12)
    | st.text(st.sampled_from("ab'`?:)(;- .+\u0301\ufe0f😀👍🏽\u263a\ufffd"), max_size=12)
)
def test_a_key_is_its_own_key(text: str) -> None:
    key = duplicate_key(text)
    assert duplicate_key(key) == key
    assert key == " ".join(key.split())


@given(st.text(st.characters(codec="ascii"), max_size=20))
def test_the_short_way_for_ascii_gives_the_same_key(text: str) -> None:
    assert keys._ascii_key(text) == keys._unicode_key(text)


CLD2_CODES = {dict(pycld2.LANGUAGES)[name] for name in pycld2.DETECTED_LANGUAGES}
LANGID_CODES = set(map(str, LanguageIdentifier.from_model_file(MODEL_FILE).labels))


@pytest.mark.parametrize(
    ("code", "tag", "known"),
    [("som", "so", True), ("so", "so", True), ("swa", "sw", False), ("gaz", "om", False)],
)
def test_somali_has_a_profile_and_another_language_is_neutral(
    code: str, tag: str, known: bool
) -> None:
    profile = language_profile(code)
    assert profile.tag == tag
    assert ({"oo", "waxaa"} <= profile.function_words) is bool(profile.function_words) is known
    assert Step.NFC in profile.steps


def test_neutral_orthography_leaves_apostrophes_and_word_boundaries() -> None:
    steps = language_profile("gaz").steps
    assert normalise("baay\u2019ee\u200bta  e", steps).text == "baay\u2019ee\u200bta e"


@pytest.mark.parametrize(
    ("codes", "tag"),
    [
        ("de deu ger", "de"),
        ("he heb iw", "he"),
        ("ar ara arb", "ar"),
        ("id ind in", "id"),
        ("sq sqi alb", "sq"),
        ("zh zho chi cmn zh-Hant", "zh"),
        ("fil tl tgl", "fil"),
        ("haw", "haw"),
        ("un", "un"),
        ("xx-Bugi", "xx-Bugi"),
    ],
)
def test_all_codes_of_a_language_have_one_tag(codes: str, tag: str) -> None:
    assert {language_tag(code) for code in codes.split()} == {tag}


@pytest.mark.parametrize("codes", [CLD2_CODES, LANGID_CODES], ids=["pycld2", "py3langid"])
def test_every_code_of_a_detector_has_its_own_tag(codes: set[str]) -> None:
    assert len(codes) > 130
    plain = codes - {"zh-Hant"}
    assert len({language_tag(code) for code in plain}) == len(plain)
    for code in filter(tag_is_valid, codes):
        language, tag = Language.get(code), language_tag(code)
        three = {language.to_alpha3(variant) for variant in ("T", "B")}
        assert {language_tag(other) for other in (*three, tag)} == {tag}, code
