"""Orthography and keys: pure functions from string to string."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile("[\u200b\ufeff\u00ad]")
_APOSTROPHES = re.compile(r"(?<=\w)[\u2019\u2018\u02bc\u02bb`\u00b4]")
_LOOSE_APOSTROPHE = re.compile(r"(?<!\w)'+")
_NOT_WORD = re.compile(r"[^\w']+")


def duplicate_key(text: str) -> str:
    """What two texts have in common when a reader would call them the same.

    Invisible characters go, apostrophes after a letter become one kind, case and punctuation are
    dropped, white space is collapsed. Doubled letters and apostrophes stay: in Somali the one is
    vowel length and the other a glottal stop, and both tell words apart.
    """
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    unified = _APOSTROPHES.sub("'", visible)
    return one_line(_LOOSE_APOSTROPHE.sub("", _NOT_WORD.sub(" ", unified.casefold())))


def one_line(text: str) -> str:
    """``text`` with every run of white space as one space."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """``text`` as one line of at most ``limit`` characters, with an ellipsis where it is cut."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_words(text: str, count: int) -> str:
    """The first ``count`` words of ``text``, with single spaces."""
    return " ".join(text.split(maxsplit=count)[:count])
