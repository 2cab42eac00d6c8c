"""Rows to answers, window by window: as many rows are in memory as one window has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlrun_assets.errors import DataError
from mlrun_assets.types import FloatArray, LabelIds, Probabilities

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


Answer = dict[str, Any]

# The classifier sorts a window by length. The first one is small, so that a pipe soon says
# something.
FIRST_ROWS = 64
WINDOW_ROWS = 4096
DECIMALS = 6
# Of the distance to 0 or 1, whichever is nearer: what is read in bfloat16 may be off by a twentieth
# of it (docs/decisions/017).
DRAFT_DIGITS = 2
OUR_KEYS = ("label", "probability", "probabilities", "words", "error")


class TextRow(NamedTuple):
    """A row to label: where it stands, what it holds, its text in normal form.

    ``problem`` is why it has no text that could be labelled; ``size`` counts the characters of all
    of it, or the bytes.
    """

    place: str
    keys: dict[str, Any]
    text: str
    size: int
    problem: str | None = None


@dataclass(frozen=True)
class PredictOptions:
    """What an answer holds besides label and probability, and what becomes of unusable rows."""

    all_labels: bool = False
    explanation: bool = False
    skip_bad: bool = False

    @property
    def exact(self) -> bool:
        """Whether texts must be read in float32: most words move less than drafts are off."""
        return self.explanation


def answer_rows(
    rows: Iterable[TextRow | None], classifier: Classifier, wanted: PredictOptions
) -> Iterator[list[Answer]]:
    """The keys of each row with ``label``, ``probability`` and what is wanted, a list a window.

    A row without a text to label gets ``error`` instead, if such rows are to be skipped. What a row
    already has under a name of ours goes on as ``input_label``, or ``input_input_label`` where
    that is taken too. None among the rows: nothing more has come yet, so those before it are
    answered now.

    Raises:
        DataError: a row has no text to label; all rows before it have been answered.
    """
    for window in windows(rows, WINDOW_ROWS // MOST_OCCLUSIONS if wanted.explanation else None):
        bad = None if wanted.skip_bad else next((row for row in window if row.problem), None)
        yield _answers(window[: window.index(bad)] if bad else window, classifier, wanted)
        if bad:
            raise DataError(
                f"{bad.place}: {bad.problem}; mend the row, or let such rows be passed over with "
                "--skip-bad"
            )


def windows(rows: Iterable[TextRow | None], most: int | None = None) -> Iterator[list[TextRow]]:
    """``rows`` in lists that grow to ``most`` rows or to some million characters, or end at None.

    The longer ones are for the rows that come faster than they are answered.
    """
    most = most or WINDOW_ROWS
    wanted = min(FIRST_ROWS, most)
    window: list[TextRow] = []
    characters = 0
    for row in rows:
        if row is None:
            if window:
                yield window
            window, characters = [], 0
            continue
        window.append(row)
        characters += row.size
        if len(window) >= wanted or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters, wanted = [], 0, min(2 * wanted, most)
    if window:
        yield window


def _answers(window: list[TextRow], classifier: Classifier, wanted: PredictOptions) -> list[Answer]:
    usable = [row.text for row in window if not row.problem]
    given = iter(_given(usable, classifier, wanted) if usable else [])
    return [
        _with(row.keys, {"error": row.problem} if row.problem else next(given)) for row in window
    ]


def _given(texts: list[str], classifier: Classifier, wanted: PredictOptions) -> list[Answer]:
    """What the model says to each text."""
    probabilities = classifier.probabilities(texts)
    chosen = probabilities.argmax(axis=1)
    sure = probabilities.round(DECIMALS) if wanted.exact else draft_digits(probabilities)
    told = sure.tolist()
    answers: list[Answer] = [
        {"label": classifier.labels[label], "probability": row[label]}
        for label, row in zip(chosen, told, strict=True)
    ]
    if wanted.all_labels:
        for answer, row in zip(answers, told, strict=True):
            answer["probabilities"] = dict(zip(classifier.labels, row, strict=True))
    if wanted.explanation:
        influences = explain(texts, chosen, probabilities, classifier)
        for answer, found in zip(answers, influences, strict=True):
            answer["words"] = [influence.told() for influence in found]
    return answers


def draft_digits(probabilities: Probabilities) -> Probabilities:
    """``probabilities`` with the digits that drafts can tell: 0.83, 0.962, 0.9987.

    At most `DECIMALS`. It is the logits that are off by as much everywhere, so the nearer to 0 or 1
    a probability is, the further its decimals hold.
    """
    nearest = np.minimum(probabilities, 1 - probabilities).clip(10.0**-DECIMALS)
    decimals = (DRAFT_DIGITS - 1 - np.floor(np.log10(nearest))).clip(max=DECIMALS)
    return np.asarray(np.round(probabilities * 10**decimals) / 10**decimals)


def _with(keys: Answer, added: Answer) -> Answer:
    return {**{_free_name(key, keys): value for key, value in keys.items()}, **added}


def _free_name(key: str, taken: Answer) -> str:
    """``key`` itself, or, where it is ours, with as many ``input_`` as no other key has."""
    if key not in OUR_KEYS:
        return key
    name = f"input_{key}"
    while name in taken:
        name = f"input_{name}"
    return name
