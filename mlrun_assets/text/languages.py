"""What is known about a language: its code, the safe spelling steps, its function words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mlrun_assets.text.orthography import ALL_STEPS, Step

# Neither is safe in every language: U+200B separates the words of Khmer, and U+02BB or U+2019 is a
# letter of many orthographies.
_NEUTRAL_STEPS = ALL_STEPS - {Step.ZERO_WIDTH_SPACE, Step.APOSTROPHE}


@dataclass(frozen=True)
class LanguageProfile:
    """A language.

    Attributes:
        code: the code that the config gives, such as ``som``.
        tag: the same language as `language_tag` writes it, such as ``so``.
        steps: the orthography steps that are safe on its text.
        function_words: frequent words, in lower case, that show that a text is partly in the
            language; empty: unknown.
    """

    code: str
    tag: str
    steps: frozenset[Step] = _NEUTRAL_STEPS
    function_words: frozenset[str] = frozenset()


_SOMALI = LanguageProfile(
    code="som",
    tag="so",
    steps=ALL_STEPS,
    function_words=frozenset(
        ("oo", "iyo", "ka", "ah", "ee", "ku", "u", "waa", "la", "waxaa", "ay", "soo", "uu", "waxay")
    ),
)
_PROFILES = {_SOMALI.tag: _SOMALI}


@cache
def language_tag(code: str) -> str:
    """One tag for all codes of a language: ``so`` for ``som``, ``he`` for ``heb`` and ``iw``.

    Args:
        code: a code of ISO 639-1, 639-2 or 639-3, a retired one, or a tag with a script.

    Returns:
        The code of ISO 639-1 if there is one, else that of ISO 639-3, as in CLDR. The standard
        member of a macrolanguage counts as the macrolanguage (``arb`` is ``ar``). An unknown code
        is returned as it is.
    """
    from langcodes import Language, tag_is_valid

    if not tag_is_valid(code):
        return code
    return Language.get(code).prefer_macrolanguage().language or code


def language_profile(code: str) -> LanguageProfile:
    """The profile of the language with this code of ISO 639.

    A language without a profile of its own gets the neutral one: the steps that are safe in any
    orthography, no function words.
    """
    tag = language_tag(code)
    return _PROFILES.get(tag) or LanguageProfile(code, tag)
