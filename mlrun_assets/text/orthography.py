"""Stored text made regular without changing a word.

Only steps that no reader can see are taken. Doubled letters are vowel length in Somali (``si``,
``sii``), apostrophes are glottal stops, and ``-ay``/``-ey``, ``dh``, ``kh``, ``sh`` and numeral
suffixes (``10-ka``) are spelling: none of them is touched.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import NamedTuple

LETTER = r"[^\W\d_\u02bb\u02bc]"
LOOK_ALIKES = "\u2019\u2018\u02bc\u02bb`\u00b4"


class Step(StrEnum):
    """One kind of change, in the order in which they are made."""

    ZERO_WIDTH_SPACE = "zero-width spaces deleted"
    BYTE_ORDER_MARK = "byte order marks deleted"
    SOFT_HYPHEN = "soft hyphens deleted"
    NFC = "texts composed (NFC)"
    APOSTROPHE = "apostrophes made U+0027"
    NO_BREAK_SPACE = "no-break spaces made spaces"
    LINE_BREAK = "line breaks made spaces"
    WHITE_SPACE = "runs of white space collapsed"


class Normalised(NamedTuple):
    """A text and how often each kind of change was made to it."""

    text: str
    changes: dict[Step, int]


ALL_STEPS = frozenset(Step)
_DELETED = {
    Step.ZERO_WIDTH_SPACE: "\u200b",
    Step.BYTE_ORDER_MARK: "\ufeff",
    Step.SOFT_HYPHEN: "\u00ad",
}
_APOSTROPHE = re.compile(f"(?<={LETTER})[{LOOK_ALIKES}](?={LETTER})")
_RUN = re.compile(r"\s{2,}|[^\S ]")
# Most texts hold nothing of all this: one look tells, and they are left as they are.
_IRREGULAR = re.compile(rf"[\u200b\ufeff\u00ad{LOOK_ALIKES}]|\s{{2}}|[^\S ]|^\s|\s$")


def normalise(text: str, steps: frozenset[Step] = ALL_STEPS) -> Normalised:
    """``text`` in the one form in which it is stored.

    Invisible characters are deleted, not made spaces: most stand inside a word. An apostrophe-like
    character is made U+0027 only between letters, where it can't be a quotation mark.
    Normalising twice gives what normalising once gives.
    """
    if not _IRREGULAR.search(text) and unicodedata.is_normalized("NFC", text):
        return Normalised(text, {})
    counts: dict[Step, int] = {}
    for step, character in _DELETED.items():
        if step in steps:
            counts[step] = text.count(character)
            text = text.replace(character, "")
    if Step.NFC in steps and not unicodedata.is_normalized("NFC", text):
        counts[Step.NFC] = 1
        text = unicodedata.normalize("NFC", text)
    if Step.APOSTROPHE in steps:
        text, counts[Step.APOSTROPHE] = _APOSTROPHE.subn("'", text)
    if Step.NO_BREAK_SPACE in steps:
        counts[Step.NO_BREAK_SPACE] = text.count("\u00a0")
        text = text.replace("\u00a0", " ")
    if Step.WHITE_SPACE in steps:
        text, runs = _collapse(text)
        counts |= runs
    return Normalised(text, {step: count for step, count in counts.items() if count})


def _collapse(text: str) -> tuple[str, dict[Step, int]]:
    stripped = text.strip()
    runs = _RUN.findall(stripped)
    # A line break alone is layout (two columns are joined by one), and is counted apart.
    breaks = sum(run in ("\n", "\r\n") for run in runs)
    edges = stripped != text
    return _RUN.sub(" ", stripped), {
        Step.LINE_BREAK: breaks,
        Step.WHITE_SPACE: len(runs) - breaks + edges,
    }
