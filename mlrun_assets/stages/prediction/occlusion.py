"""Which words moved a label, by leaving them out (Li et al., 2016, arXiv:1612.08220).

A text of many words is taken apart into windows of neighbours, so that it costs at most
`MOST_OCCLUSIONS` further predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlrun_assets.arrays import FloatArray, LabelIds, Probabilities

MOST_OCCLUSIONS = 64
# Further on in a text, models do not read: each word is a token at least.
WORDS_EXPLAINED = 512
TOLD = 5
# Of the texts that the classifier is asked about at once; a single one may be longer.
WINDOW_CHARACTERS = 1 << 23
_LEAST = 1e-300


class Classifier(Protocol):
    """What gives probabilities to texts: of shape (texts, labels), in the order of ``labels``."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    def probabilities(self, texts: list[str]) -> Probabilities:
        """Of shape (texts, labels)."""
        ...


@dataclass(frozen=True)
class Influence:
    """Words of a text, from the word ``position`` on, and what the label is without them.

    ``change`` is that of the label's log-probability: below zero, the words speak for the label.
    """

    words: str
    position: int
    change: float
    probability: float

    def told(self) -> dict[str, Any]:
        """As a row has it."""
        return {
            "words": self.words,
            "position": self.position,
            "change": round(self.change, 4),
            "probability": round(self.probability, 6),
        }


def explain(
    texts: list[str], chosen: LabelIds, probabilities: Probabilities, classifier: Classifier
) -> list[list[Influence]]:
    """For each text the words that moved its label most, the strongest first.

    Args:
        texts: in normal form, so that a space parts the words.
        chosen: the number of the label of each text.
        probabilities: of the whole texts, shape (texts, labels).
        classifier: what gave them.
    """
    split = [text.split() for text in texts]
    parts = [_windows(words) for words in split]
    without = (
        " ".join([*words[:start], *words[end:]])
        for words, spans in zip(split, parts, strict=True)
        for start, end in spans
    )
    answers = np.concatenate([classifier.probabilities(piece) for piece in _pieces(without)])
    explained, row = [], 0
    for words, spans, label, whole in zip(split, parts, chosen, probabilities, strict=True):
        left = answers[row : row + len(spans), label]
        explained.append(_strongest(words, spans, left, float(whole[label])))
        row += len(spans)
    return explained


def _pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    """``texts`` in lists that end at some million characters: they are copies of long texts."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        piece.append(text)
        characters += len(text)
        if characters >= WINDOW_CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _windows(words: list[str]) -> list[tuple[int, int]]:
    """Start and end of each window of words: one word each, where there are few."""
    read = min(len(words), WORDS_EXPLAINED)
    width = -(-read // MOST_OCCLUSIONS)
    return [(start, min(start + width, read)) for start in range(0, read, width)]


def _strongest(
    words: list[str], spans: list[tuple[int, int]], left: FloatArray, whole: float
) -> list[Influence]:
    changes = np.log(np.maximum(left, _LEAST)) - np.log(max(whole, _LEAST))
    found = [
        Influence(" ".join(words[start:end]), start, float(change), float(probability))
        for (start, end), change, probability in zip(spans, changes, left, strict=True)
    ]
    return sorted(found, key=lambda each: -abs(each.change))[:TOLD]
