"""Rows to answers, window by window: as many rows are in memory as one window has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlrun_assets.arrays import Probabilities
from mlrun_assets.errors import DataError
from mlrun_assets.stages.prediction.occlusion import (
    MOST_OCCLUSIONS,
    WINDOW_CHARACTERS,
    Classifier,
    explain,
)

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
class Wanted:
    """What an answer holds besides label and probability, and what becomes of unusable rows."""

    all_labels: bool = False
    explanation: bool = False
    skip_bad: bool = False

    @property
    def exact(self) -> bool:
        """Whether texts must be read in float32: most words move less than drafts are off."""
        return self.explanation


def answer_rows(
    rows: Iterable[TextRow | None], classifier: Classifier, wanted: Wanted
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


def _answers(window: list[TextRow], classifier: Classifier, wanted: Wanted) -> list[Answer]:
    usable = [row.text for row in window if not row.problem]
    given = iter(_given(usable, classifier, wanted) if usable else [])
    return [
        _with(row.keys, {"error": row.problem} if row.problem else next(given)) for row in window
    ]


def _given(texts: list[str], classifier: Classifier, wanted: Wanted) -> list[Answer]:
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
