"""What is known about a language: how its text is made regular and what detectors call it."""

from __future__ import annotations

from dataclasses import dataclass

from mlrun_assets.text.orthography import ALL_STEPS, Step

# Neither is safe everywhere: U+200B parts the words of Khmer, and U+02BB or U+2019 is the letter
# that many an orthography prescribes.
_NEUTRAL_STEPS = ALL_STEPS - {Step.ZERO_WIDTH_SPACE, Step.APOSTROPHE}


@dataclass(frozen=True)
class LanguageProfile:
    """A language by its code.

    ``steps`` are the orthography steps that are safe on its text. ``function_words`` (lower case)
    tell a text that is partly in the language; none: it can't be told. ``detector_codes`` are what
    detectors answer for it.
    """

    code: str
    steps: frozenset[Step]
    function_words: frozenset[str]
    detector_codes: frozenset[str]


_SOMALI = LanguageProfile(
    code="som",
    steps=ALL_STEPS,
    function_words=frozenset(
        ("oo", "iyo", "ka", "ah", "ee", "ku", "u", "waa", "la", "waxaa", "ay", "soo", "uu", "waxay")
    ),
    detector_codes=frozenset({"so"}),
)
_PROFILES = {"som": _SOMALI, "so": _SOMALI}

# ISO 639-3, with the members of a macrolanguage, to the two letters of ISO 639-1.
_TWO_LETTERS = {
    "afr": "af", "amh": "am", "ara": "ar", "arb": "ar", "ben": "bn", "eng": "en", "fas": "fa",
    "fra": "fr", "gaz": "om", "hat": "ht", "hau": "ha", "hin": "hi", "ibo": "ig", "ind": "id",
    "kan": "kn", "khm": "km", "kin": "rw", "kir": "ky", "kur": "ku", "kmr": "ku", "lao": "lo",
    "lin": "ln", "lug": "lg", "mal": "ml", "mar": "mr", "mlg": "mg", "mya": "my", "npi": "ne",
    "nya": "ny", "orm": "om", "pan": "pa", "pes": "fa", "plt": "mg", "por": "pt", "pus": "ps",
    "run": "rn", "sin": "si", "sna": "sn", "snd": "sd", "sot": "st", "spa": "es", "ssw": "ss",
    "swa": "sw", "swh": "sw", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tir": "ti",
    "tsn": "tn", "tso": "ts", "tur": "tr", "uig": "ug", "urd": "ur", "uzb": "uz", "ven": "ve",
    "vie": "vi", "wol": "wo", "xho": "xh", "yor": "yo", "zul": "zu",
}  # fmt: skip


def language_profile(code: str) -> LanguageProfile:
    """The profile of a language, given as ISO 639-3 (``som``) or 639-1 (``so``).

    A language without a profile of its own gets the neutral one: the steps that are safe in any
    orthography, no function words.
    """
    if code in _PROFILES:
        return _PROFILES[code]
    return LanguageProfile(
        code, _NEUTRAL_STEPS, frozenset(), frozenset({_TWO_LETTERS.get(code, code)})
    )
