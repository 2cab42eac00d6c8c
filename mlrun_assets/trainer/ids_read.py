"""Texts to the ids that a model reads, at a cost that their length does not set.

A tokenizer encodes the whole text and throws away what is beyond ``max_length``: a row of 24 MB
takes 3 GB, of which 512 tokens are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Somali has 3 to 5. Where there are more, it costs another look.
CHARACTERS_A_TOKEN = 16
# A space between characters that it keeps apart for every tokenizer of words: no mark that it
# could carry, nothing that is made a space too, no start of a token that swallows it.
_LAST_SPACE = re.compile(r"(?s).*[\w!-~](?= [\w!-~])")
_FIRST_SPACE = re.compile(r"(?<=[\w!-~]) [\w!-~]")


def ids_read(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    max_length: int,
    characters: int | None = None,
) -> list[list[int]]:
    """The ids of each text, cut to ``max_length`` on the side where the tokenizer cuts.

    They are those of the whole text, though of a long one only ``characters`` are tokenised first:
    its words up to a space. Words that a space parts are tokenised apart, so the tokens of the part
    are the first (or last) of the text; where they are fewer than the model reads, the part is
    doubled. A text without a space goes on to the first one, or is taken whole.
    """
    if not texts:
        return []  # which tokenizers do not take
    characters = characters or CHARACTERS_A_TOKEN * max_length
    parts = [_part(text, characters, tokenizer.truncation_side) for text in texts]
    ids: list[list[int]] = tokenizer(
        parts, truncation=True, max_length=max_length, return_attention_mask=False
    )["input_ids"]
    short = [
        row
        for row, (part, text) in enumerate(zip(parts, texts, strict=True))
        if len(part) < len(text) and len(ids[row]) < max_length
    ]
    more = ids_read(tokenizer, [texts[row] for row in short], max_length, 2 * characters)
    for row, found in zip(short, more, strict=True):
        ids[row] = found
    return ids


def _part(text: str, characters: int, cut: str) -> str:
    """Whole words of ``text`` within its first ``characters``, or the last, if it is cut left."""
    if len(text) <= characters:
        return text
    if cut == "left":
        found = _FIRST_SPACE.search(text, len(text) - characters)
        return text[found.start() :] if found else ""
    found = _LAST_SPACE.match(text, 0, characters)
    return found.group() if found else ""
