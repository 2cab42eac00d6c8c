"""Rows in, labels and probabilities out, window by window; the words that moved a label.

Only the rows of one window are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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


class Classifier(Protocol):
    """A model that gives probabilities to texts, in the order of ``labels``."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    def probabilities(self, texts: list[str]) -> Probabilities:
        """Probabilities of shape (texts, labels)."""
        ...


@dataclass(frozen=True)
class Influence:
    """Words of a text, starting at the word ``position``, and the label's probability without them.

    ``change`` is in log-probability: below zero, the words support the label.
    """

    words: str
    position: int
    change: float
    probability: float

    def as_json(self) -> dict[str, Any]:
        """The influence as it is written to an answer."""
        return {
            "words": self.words,
            "position": self.position,
            "change": round(self.change, 4),
            "probability": round(self.probability, 6),
        }


def explain(
    texts: list[str], chosen: LabelIds, probabilities: Probabilities, classifier: Classifier
) -> list[list[Influence]]:
    """For each text the words that moved its label most, the strongest first (occlusion).

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
    answers = np.concatenate([classifier.probabilities(batch) for batch in _batches(without)])
    explained, row = [], 0
    for words, spans, label, whole in zip(split, parts, chosen, probabilities, strict=True):
        left = answers[row : row + len(spans), label]
        explained.append(_strongest(words, spans, left, float(whole[label])))
        row += len(spans)
    return explained


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """``texts`` in lists of a few million characters, because they are copies of long texts."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= WINDOW_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _windows(words: list[str]) -> list[tuple[int, int]]:
    """Start and end of each group of words; a group is one word unless the text is long."""
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
    return sorted(found, key=lambda each: -abs(each.change))[:MOST_INFLUENCES]


Answer = dict[str, Any]

# The classifier sorts a window by length. The first window is small, so that a pipe answers soon.
FIRST_ROWS = 64
WINDOW_ROWS = 4096
DECIMALS = 6
# Digits of the distance to 0 or 1, whichever is nearer. A probability computed in bfloat16 may be
# off by a twentieth of that distance (docs/decisions/017).
DRAFT_DIGITS = 2
OUR_KEYS = ("label", "probability", "probabilities", "words", "error")


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

    @property
    def exact(self) -> bool:
        """Whether float32 is needed: single words change less than the error of bfloat16."""
        return self.explanation


def answer_rows(
    rows: Iterable[TextRow | None], classifier: Classifier, options: PredictOptions
) -> Iterator[list[Answer]]:
    """Add ``label``, ``probability`` and the requested keys to each row; yields a list per window.

    With ``skip_invalid`` a row without a text gets ``error`` instead. A key of the row with one of
    our names is kept as ``input_label``, or ``input_input_label`` if that exists too. None among
    the rows means that no further row has come yet: the rows before it are answered now.

    Raises:
        DataError: a row has no text to label; all rows before it have been answered.
    """
    for window in windows(rows, WINDOW_ROWS // MOST_OCCLUSIONS if options.explanation else None):
        bad = None if options.skip_invalid else next((row for row in window if row.problem), None)
        yield _answers(window[: window.index(bad)] if bad else window, classifier, options)
        if bad:
            raise DataError(
                f"{bad.place}: {bad.problem}; fix the row, or skip such rows with --skip-invalid"
            )


def windows(rows: Iterable[TextRow | None], most: int | None = None) -> Iterator[list[TextRow]]:
    """``rows`` in lists that end at ``most`` rows, at a few million characters, or at None.

    The lists grow, because longer ones are faster when rows come faster than they are answered.
    """
    most = most or WINDOW_ROWS
    limit = min(FIRST_ROWS, most)
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
        if len(window) >= limit or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters, limit = [], 0, min(2 * limit, most)
    if window:
        yield window


def _answers(
    window: list[TextRow], classifier: Classifier, options: PredictOptions
) -> list[Answer]:
    usable = [row.text for row in window if not row.problem]
    given = iter(_predicted(usable, classifier, options) if usable else [])
    return [
        _with(row.keys, {"error": row.problem} if row.problem else next(given)) for row in window
    ]


def _predicted(texts: list[str], classifier: Classifier, options: PredictOptions) -> list[Answer]:
    """The model's answer to each text."""
    probabilities = classifier.probabilities(texts)
    chosen = probabilities.argmax(axis=1)
    digits = probabilities.round(DECIMALS) if options.exact else draft_digits(probabilities)
    rounded = digits.tolist()
    answers: list[Answer] = [
        {"label": classifier.labels[label], "probability": row[label]}
        for label, row in zip(chosen, rounded, strict=True)
    ]
    if options.all_labels:
        for answer, row in zip(answers, rounded, strict=True):
            answer["probabilities"] = dict(zip(classifier.labels, row, strict=True))
    if options.explanation:
        influences = explain(texts, chosen, probabilities, classifier)
        for answer, found in zip(answers, influences, strict=True):
            answer["words"] = [influence.as_json() for influence in found]
    return answers


def draft_digits(probabilities: Probabilities) -> Probabilities:
    """``probabilities`` rounded to the digits that bfloat16 supports: 0.83, 0.962, 0.9987.

    At most `DECIMALS`. The error is about the same in every logit, so the nearer a probability is
    to 0 or 1, the more of its decimals are right.
    """
    nearest = np.minimum(probabilities, 1 - probabilities).clip(10.0**-DECIMALS)
    decimals = (DRAFT_DIGITS - 1 - np.floor(np.log10(nearest))).clip(max=DECIMALS)
    return np.asarray(np.round(probabilities * 10**decimals) / 10**decimals)


def _with(keys: Answer, added: Answer) -> Answer:
    return {**{_free_name(key, keys): value for key, value in keys.items()}, **added}


def _free_name(key: str, taken: Answer) -> str:
    """``key``, or, if it is one of ours, ``key`` with enough ``input_`` to be free."""
    if key not in OUR_KEYS:
        return key
    name = f"input_{key}"
    while name in taken:
        name = f"input_{name}"
    return name
