"""Texts: their stored normal form, the key of equal texts, and profiles of languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import NamedTuple


def one_line(text: str) -> str:
    """``text`` with every run of white space as one space."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """``text`` as one line of at most ``limit`` characters; a cut text ends with an ellipsis."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_words(text: str, count: int) -> str:
    """The first ``count`` words of ``text``, with single spaces."""
    return " ".join(text.split(maxsplit=count)[:count])


# The normal form

LETTER = r"[^\W\d_\u02bb\u02bc]"
LOOK_ALIKES = "\u2019\u2018\u02bc\u02bb`\u00b4"


class Step(StrEnum):
    """The changes that `normalise` makes, in their order."""

    ZERO_WIDTH_SPACE = "zero-width spaces deleted"
    BYTE_ORDER_MARK = "byte order marks deleted"
    SOFT_HYPHEN = "soft hyphens deleted"
    NFC = "texts composed (NFC)"
    APOSTROPHE = "apostrophes made U+0027"
    NO_BREAK_SPACE = "no-break spaces made spaces"
    LINE_BREAK = "line breaks made spaces"
    WHITE_SPACE = "runs of white space collapsed"


class Normalised(NamedTuple):
    """A text in normal form, and the number of changes by kind."""

    text: str
    changes: dict[Step, int]


ALL_STEPS = frozenset(Step)
REPLACED = {
    Step.ZERO_WIDTH_SPACE: ("\u200b", ""),
    Step.BYTE_ORDER_MARK: ("\ufeff", ""),
    Step.SOFT_HYPHEN: ("\u00ad", ""),
    Step.NO_BREAK_SPACE: ("\u00a0", " "),
}
_APOSTROPHE = re.compile(f"(?<={LETTER})[{LOOK_ALIKES}](?={LETTER})")
_RUN = re.compile(r"\s{2,}|[^\S ]")
# Most texts match nothing of this and need no change, so one search saves time.
_IRREGULAR = re.compile(rf"[\u200b\ufeff\u00ad{LOOK_ALIKES}]|\s{{2}}|[^\S ]|^\s|\s$")


def normalise(text: str, steps: frozenset[Step] = ALL_STEPS) -> Normalised:
    """The normal form of ``text``, in which it is stored; idempotent.

    `mlrun_assets.models.export.normaliser` writes the same steps into a deployed model.

    Invisible characters are deleted, not replaced by spaces, because most are inside words.
    Apostrophe-like characters become U+0027 only between letters: elsewhere they may be quotation
    marks.
    """
    if not _IRREGULAR.search(text) and unicodedata.is_normalized("NFC", text):
        return Normalised(text, {})
    counts: dict[Step, int] = {}
    for step, (character, replacement) in REPLACED.items():
        if step in steps:
            counts[step] = text.count(character)
            text = text.replace(character, replacement)
    if Step.NFC in steps and not unicodedata.is_normalized("NFC", text):
        counts[Step.NFC] = 1
        text = unicodedata.normalize("NFC", text)
    if Step.APOSTROPHE in steps:
        text, counts[Step.APOSTROPHE] = _APOSTROPHE.subn("'", text)
    if Step.WHITE_SPACE in steps:
        stripped = text.strip()
        runs = _RUN.findall(stripped)
        # A single line break is layout (it joins two columns), so it is counted separately.
        breaks = counts[Step.LINE_BREAK] = sum(run in ("\n", "\r\n") for run in runs)
        counts[Step.WHITE_SPACE] = len(runs) - breaks + (stripped != text)
        text = _RUN.sub(" ", stripped)
    return Normalised(text, {step: counts[step] for step in Step if counts.get(step)})


# The key of equal texts

# Also signs of direction, and what changes an emoji but is none: its form and the colour of skin.
_INVISIBLE = re.compile(
    "[\u200b\ufeff\u00ad\u200e\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]"
)
# Digits are not squeezed: 1000 is not 100.
_LONG_RUN = re.compile(r"([^\W\d_])\1\1+")
_LONG_ASCII_RUN = re.compile(r"([a-z])\1\1+")
_REPEATED_SYMBOL = re.compile(r"(?<!\S)([^\w\s'])(?: \1)+(?!\S)")
_REPEATED_MARK = re.compile(r"(\S)\1+")
_ASCII_BACKTICK = re.compile(r"(?<=\w)`")
_ASCII_LOOSE = re.compile(r"(?<!\w)'+")
# Punctuation that says something: emoticons, and question marks that replace letters or emoji.
_EMOTICON = re.compile(r"[:;=]['^-]?(?:([)\]]+)|[(\[]+)(?!\w)")
_LOST = re.compile(r"(?<!\S)\?\?+(?!\S)")


def duplicate_key(text: str) -> str:
    """A key that is equal for texts that differ only in case, punctuation or emphasis.

    It has no invisible characters, one kind of apostrophe, and at most two equal letters in a row.
    Doubled letters and apostrophes stay, because they distinguish Somali words (vowel length and
    glottal stop). Combining marks stay, because they are the vowels of many scripts. Each emoji or
    other symbol is a word, because it may be all that distinguishes two texts. A text of nothing
    but punctuation is its own key.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    text = _EMOTICON.sub(lambda found: " \u263a " if found[1] else " \u2639 ", text)
    if "??" in text:
        text = _LOST.sub("\ufffd", text)
    key = _ascii_key(text) if text.isascii() else _unicode_key(text)
    return key or _REPEATED_MARK.sub(r"\1", one_line(_folded(text)))


def _ascii_key(text: str) -> str:
    """The same key as `_unicode_key`, for ASCII texts, five times as fast."""
    if "`" in text:
        text = _ASCII_BACKTICK.sub("'", text)
    words = text.lower().translate(_WORDS)
    if "'" in words:
        words = _ASCII_LOOSE.sub(" ", words)
    return _REPEATED_SYMBOL.sub(r"\1", one_line(_LONG_ASCII_RUN.sub(r"\1\1", words)))


def _unicode_key(text: str) -> str:
    apostrophe, loose = _patterns()
    words = loose.sub(" ", _folded(apostrophe.sub("'", text)).translate(_WORDS))
    return _REPEATED_SYMBOL.sub(r"\1", one_line(_LONG_RUN.sub(r"\1\1", words)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class _Words(dict[int, str]):
    """For `str.translate`: punctuation becomes a space, a symbol a word of its own."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)[0]
        if character in LOOK_ALIKES or (kind in "PZC" and character not in "_'"):
            word = " "
        else:
            word = character if kind in "LMN" or character in "_'" else f" {character} "
        self[code] = word
        return word


_WORDS = _Words()


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """What is an apostrophe; an apostrophe or mark that is in no word."""
    # Python's \w lacks combining marks, and includes two characters that look like apostrophes.
    every = map(chr, range(0x300, 0x20000))
    marks = "".join(each for each in every if unicodedata.category(each).startswith("M"))
    return (
        re.compile(rf"[{LOOK_ALIKES}](?<=[^\W\u02bb\u02bc].|[{marks}].)"),
        re.compile(rf"(?:(?<!\S)|(?<='))['{marks}]+"),
    )


# Languages

# Two steps are not safe in every language: U+200B separates the words of Khmer, and U+02BB and
# U+2019 are letters in many orthographies.
_NEUTRAL_STEPS = ALL_STEPS - {Step.ZERO_WIDTH_SPACE, Step.APOSTROPHE}


@dataclass(frozen=True)
class LanguageProfile:
    """The orthography and frequent words of a language.

    Attributes:
        code: the code in the config, such as ``som``.
        tag: the result of `language_tag`, such as ``so``.
        steps: the steps of `normalise` that are safe for its texts.
        function_words: frequent words in lower case, which show that a text is partly in the
            language; empty if unknown.
    """

    code: str
    tag: str
    steps: frozenset[Step] = _NEUTRAL_STEPS
    function_words: frozenset[str] = frozenset()


_SOMALI_WORDS = "oo iyo ka ah ee ku u waa la waxaa ay soo uu waxay"
_PROFILES = {"so": LanguageProfile("som", "so", ALL_STEPS, frozenset(_SOMALI_WORDS.split()))}


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
    """The profile of a language by its ISO 639 code.

    Unknown languages get a neutral profile: only the steps that are safe in any orthography, and
    no function words.
    """
    tag = language_tag(code)
    return _PROFILES.get(tag) or LanguageProfile(code, tag)


def normal_labels(labels: Iterable[str], language: str) -> list[str]:
    """Each label in the normal form that texts of the language have."""
    steps = language_profile(language).steps
    return [normalise(label, steps).text for label in labels]
