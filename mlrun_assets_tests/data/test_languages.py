import pycld2
import pytest
from langcodes import Language, tag_is_valid
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from mlrun_assets.data.text import Step, language_profile, language_tag, normalise

CLD2_CODES = {dict(pycld2.LANGUAGES)[name] for name in pycld2.DETECTED_LANGUAGES}
LANGID_CODES = set(map(str, LanguageIdentifier.from_model_file(MODEL_FILE).labels))


@pytest.mark.parametrize("code", ["som", "so"])
def test_somali_by_either_code(code: str) -> None:
    profile = language_profile(code)
    assert profile.tag == "so"
    assert {"oo", "waxaa"} <= profile.function_words


@pytest.mark.parametrize(
    ("code", "tag"), [("swa", "sw"), ("gaz", "om"), ("yo", "yo"), ("haw", "haw")]
)
def test_another_language_is_neutral(code: str, tag: str) -> None:
    profile = language_profile(code)
    assert profile.tag == tag
    assert not profile.function_words
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
        ("sr srp", "sr"),
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
