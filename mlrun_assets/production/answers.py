"""Rows in, labels and probabilities out, window by window; the words that moved a label.

Only the rows of one window are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from mlrun_assets.errors import DataError
from mlrun_assets.types import FloatArray, LabelIds, Probabilities

MOST_OCCLUSIONS = 64
# No model reads further: a word is at least one token.
WORDS_EXPLAINED = 512
MOST_INFLUENCES = 5
# Characters of the texts that are predicted at once; a single text may be longer.
WINDOW_CHARACTERS = 1 << 23
_LEAST = 1e-300

T = TypeVar("T")
Answer = dict[str, Any]


class Classifier(Protocol):
    """A model that gives probabilities to texts, in the order of ``labels``."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def accept_confidence(self) -> float | None: ...

    def probabilities(self, texts: list[str]) -> Probabilities:
        """Probabilities of shape (texts, labels)."""
        ...


def explain(
    texts: list[str], chosen: LabelIds, probabilities: Probabilities, classifier: Classifier
) -> list[list[Answer]]:
    """For each text the words that moved its label most, the strongest first (occlusion).

    Each has the ``text`` of the words, the ``position`` of the first, the ``probability_without``
    them of the label, and its ``change`` in log-probability: below zero, they support the label.

    Args:
        texts: in normal form, so that a space separates words.
        chosen: the index of the predicted label of each text.
        probabilities: of the whole texts, shape (texts, labels).
        classifier: the model that gave them.
    """
    split = [text.split() for text in texts]
    parts = [_windows(words) for words in split]
    without = (
        " ".join([*words[:start], *words[end:]])
        for words, spans in zip(split, parts, strict=True)
        for start, end in spans
    )
    # In pieces, because they are copies of long texts.
    batches = windows(without, len, most=math.inf, first=math.inf)
    answers = np.concatenate([classifier.probabilities(batch) for batch in batches])
    explained, row = [], 0
    for words, spans, label, whole in zip(split, parts, chosen, probabilities, strict=True):
        left = answers[row : row + len(spans), label]
        explained.append(_strongest(words, spans, left, float(whole[label])))
        row += len(spans)
    return explained


def _windows(words: list[str]) -> list[tuple[int, int]]:
    """Start and end of each group of words; a group is one word unless the text is long."""
    read = min(len(words), WORDS_EXPLAINED)
    width = -(-read // MOST_OCCLUSIONS)
    return [(start, min(start + width, read)) for start in range(0, read, width)]


def _strongest(
    words: list[str], spans: list[tuple[int, int]], left: FloatArray, whole: float
) -> list[Answer]:
    changes = np.log(np.maximum(left, _LEAST)) - np.log(max(whole, _LEAST))
    return [
        {
            "text": " ".join(words[slice(*spans[place])]),
            "position": spans[place][0],
            "change": round(float(changes[place]), 4),
            "probability_without": round(float(left[place]), 6),
        }
        for place in np.argsort(-np.abs(changes), kind="stable")[:MOST_INFLUENCES]
    ]


# The classifier sorts a window by length. The first window is small, so that a pipe answers soon.
FIRST_ROWS = 64
WINDOW_ROWS = 4096
DECIMALS = 6
# Digits of the distance to 0 or 1, whichever is nearer. A probability computed in bfloat16 may be
# off by a twentieth of that distance (docs/decisions/017).
DRAFT_DIGITS = 2
OUR_KEYS = ("label", "probability", "accepted", "probabilities", "words", "error")


class TextRow(NamedTuple):
    """A row to label: its file and line, its keys, its text in normal form.

    ``problem`` says why there is no text to label; ``size`` is in characters or bytes.
    """

    place: str
    keys: dict[str, Any]
    text: str
    size: int
    problem: str | None = None


@dataclass(frozen=True)
class PredictOptions:
    """Keys of an answer besides label and probability; whether rows without text are skipped."""

    all_labels: bool = False
    explanation: bool = False
    skip_invalid: bool = False


def answer_rows(
    rows: Iterable[TextRow | None], classifier: Classifier, options: PredictOptions
) -> Iterator[list[Answer]]:
    """Add ``label``, ``probability`` and the requested keys to each row; yields a list per window.

    ``accepted`` is added if the model has a confidence threshold.

    With ``skip_invalid`` a row without a text gets ``error`` instead. A key of the row with one of
    our names is kept as ``input_label``, or ``input_input_label`` if that exists too. None among
    the rows means that no further row has come yet: the rows before it are answered now.

    Raises:
        DataError: a row has no text to label; all rows before it have been answered.
    """
    most = WINDOW_ROWS // MOST_OCCLUSIONS if options.explanation else WINDOW_ROWS
    for window in windows(rows, attrgetter("size"), most):
        bad = None if options.skip_invalid else next((row for row in window if row.problem), None)
        yield _answers(window[: window.index(bad)] if bad else window, classifier, options)
        if bad:
            raise DataError(
                f"{bad.place}: {bad.problem}; fix the row, or skip such rows with --skip-invalid"
            )


def windows(
    items: Iterable[T | None],
    size: Callable[[T], int],
    most: float = WINDOW_ROWS,
    first: float = FIRST_ROWS,
) -> Iterator[list[T]]:
    """``items`` in lists that end at ``most`` of them, at a few million characters, or at None.

    The lists grow, because longer ones are faster when rows come faster than they are answered.
    """
    limit = min(first, most)
    window: list[T] = []
    characters = 0
    for item in items:
        if item is not None:
            window.append(item)
            characters += size(item)
            if len(window) < limit and characters < WINDOW_CHARACTERS:
                continue
            limit = min(2 * limit, most)
        if window:
            yield window
        window, characters = [], 0
    if window:
        yield window


def _answers(
    window: list[TextRow], classifier: Classifier, options: PredictOptions
) -> list[Answer]:
    usable = [row.text for row in window if not row.problem]
    given = iter(_predicted(usable, classifier, options) if usable else [])
    answers = []
    for row in window:
        kept = {_free_name(key, row.keys): value for key, value in row.keys.items()}
        answers.append(kept | ({"error": row.problem} if row.problem else next(given)))
    return answers


def _predicted(texts: list[str], classifier: Classifier, options: PredictOptions) -> list[Answer]:
    """The model's answer to each text."""
    probabilities = classifier.probabilities(texts)
    chosen = probabilities.argmax(axis=1)
    exact = options.explanation
    rounded = (probabilities.round(DECIMALS) if exact else draft_digits(probabilities)).tolist()
    answers: list[Answer] = [
        {"label": classifier.labels[label], "probability": row[label]}
        for label, row in zip(chosen, rounded, strict=True)
    ]
    if classifier.accept_confidence is not None:
        sure = probabilities.max(axis=1) >= classifier.accept_confidence
        for answer, accepted in zip(answers, sure.tolist(), strict=True):
            answer["accepted"] = accepted
    if options.all_labels:
        for answer, row in zip(answers, rounded, strict=True):
            answer["probabilities"] = dict(zip(classifier.labels, row, strict=True))
    if options.explanation:
        explained = explain(texts, chosen, probabilities, classifier)
        for answer, words in zip(answers, explained, strict=True):
            answer["words"] = words
    return answers


def draft_digits(probabilities: Probabilities) -> Probabilities:
    """``probabilities`` rounded to the digits that bfloat16 supports: 0.83, 0.962, 0.9987.

    At most `DECIMALS`. The error is about the same in every logit, so the nearer a probability is
    to 0 or 1, the more of its decimals are right.
    """
    nearest = np.minimum(probabilities, 1 - probabilities).clip(10.0**-DECIMALS)
    decimals = (DRAFT_DIGITS - 1 - np.floor(np.log10(nearest))).clip(max=DECIMALS)
    return np.asarray(np.round(probabilities * 10**decimals) / 10**decimals)


def _free_name(key: str, taken: Answer) -> str:
    """``key``, or, if it is one of ours, ``key`` with enough ``input_`` to be free."""
    name = f"input_{key}" if key in OUR_KEYS else key
    while name != key and name in taken:
        name = f"input_{name}"
    return name
