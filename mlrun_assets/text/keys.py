"""What texts have in common that a reader would call the same."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import cache
from typing import NamedTuple

from mlrun_assets.text.lines import one_line
from mlrun_assets.text.orthography import LOOK_ALIKES

_INVISIBLE = re.compile("[\u200b\ufeff\u00ad]")
# Digits are not squeezed: 1000 is not 100.
_LONG_RUN = re.compile(r"([^\W\d_])\1\1+")
_LONG_ASCII_RUN = re.compile(r"([a-z])\1\1+")
_ASCII_BACKTICK = re.compile(r"(?<=\w)`")
_ASCII_LOOSE = re.compile(r"(?<!\w)'+")
_ASCII_NOT_WORD = {
    ord(character): " "
    for character in map(chr, range(128))
    if character not in string.ascii_letters + string.digits + "_'"
}


class _Patterns(NamedTuple):
    apostrophe: re.Pattern[str]
    loose: re.Pattern[str]
    not_word: re.Pattern[str]


def duplicate_key(text: str) -> str:
    """The form that texts share when they differ by nothing that matters.

    Invisible characters go, apostrophes after a letter become one kind, case and punctuation are
    dropped, a letter that stands three times or more in a row stands twice, white space is
    collapsed. Doubled letters and apostrophes stay: in Somali the one is vowel length and the other
    a glottal stop, and both tell words apart. So do combining marks, the vowels of many scripts.
    """
    return _ascii_key(text) if text.isascii() else _unicode_key(text)


def _ascii_key(text: str) -> str:
    """The key of an ASCII text: what `_unicode_key` says, in a fifth of the time."""
    if "`" in text:
        text = _ASCII_BACKTICK.sub("'", text)
    words = text.lower().translate(_ASCII_NOT_WORD)
    if "'" in words:
        words = _ASCII_LOOSE.sub(" ", words)
    return one_line(_LONG_ASCII_RUN.sub(r"\1\1", words))


def _unicode_key(text: str) -> str:
    patterns = _patterns()
    unified = patterns.apostrophe.sub("'", _INVISIBLE.sub("", text))
    composed = unicodedata.normalize("NFKC", unified)
    folded = unicodedata.normalize("NFKC", composed.casefold())
    words = patterns.loose.sub(" ", patterns.not_word.sub(" ", folded))
    return one_line(_LONG_RUN.sub(r"\1\1", words))


@cache
def _patterns() -> _Patterns:
    # Python's \w leaves out the combining marks, and takes in two that look like apostrophes.
    marks = "".join(
        character
        for character in map(chr, range(0x300, 0x10000))
        if unicodedata.category(character).startswith("M")
    )
    return _Patterns(
        apostrophe=re.compile(rf"(?<=[^\W\u02bb\u02bc]|[{marks}])[{LOOK_ALIKES}]"),
        loose=re.compile(rf"(?<![\w{marks}])['{marks}]+"),
        not_word=re.compile(rf"[^\w'{marks}]+|[\u02bb\u02bc]+"),
    )
