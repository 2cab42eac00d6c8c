import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.data.text import ALL_STEPS, Step, language_profile, normalise

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
def test_normalising_twice_is_normalising_once(text: str, steps: frozenset[Step]) -> None:
    once = normalise(text, steps).text
    assert normalise(once, steps) == (once, {})


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


@given(TRICKY, STEPS)
def test_a_change_is_counted_exactly_when_the_text_changes(
    text: str, steps: frozenset[Step]
) -> None:
    result = normalise(text, steps)
    assert bool(result.changes) == (result.text != text)
    assert set(result.changes) <= steps | {Step.LINE_BREAK}


def test_a_long_run_of_white_space_is_one_run() -> None:
    assert normalise("a" + " " * 300_000 + "b").text == "a b"
