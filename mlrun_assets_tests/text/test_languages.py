import pytest

from mlrun_assets.text import Step, language_profile, normalise


@pytest.mark.parametrize("code", ["som", "so"])
def test_somali_by_either_code(code: str) -> None:
    profile = language_profile(code)
    assert profile.detector_codes == {"so"}
    assert {"oo", "waxaa"} <= profile.function_words


@pytest.mark.parametrize(
    ("code", "detected"), [("swa", "sw"), ("gaz", "om"), ("yo", "yo"), ("haw", "haw")]
)
def test_another_language_is_neutral(code: str, detected: str) -> None:
    profile = language_profile(code)
    assert profile.detector_codes == {detected}
    assert not profile.function_words
    assert Step.NFC in profile.steps


def test_neutral_orthography_leaves_apostrophes_and_word_boundaries() -> None:
    steps = language_profile("gaz").steps
    assert normalise("baay\u2019ee\u200bta  e", steps).text == "baay\u2019ee\u200bta e"
