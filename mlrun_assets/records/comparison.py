"""One model against another on the same rows."""

from __future__ import annotations

from mlrun_assets.records.record import Record
from mlrun_assets.records.scores import Score


class PartComparison(Record):
    """Recall of one label, or accuracy on one slice of the test split, of both models.

    On a slice ``recall`` is the share of its rows that are right. ``loss`` is the other's recall
    less the challenger's, with its paired interval.
    """

    part: str
    rows: int
    recall: float
    other_recall: float
    loss: Score


class Comparison(Record):
    """The challenger against one other model on the same rows.

    ``parts_confidence`` is that of each part's interval, so high that all hold together with the
    confidence of the evaluation; None: each holds on its own.
    """

    against: str
    comparable: bool
    reason: str
    rows: int
    other_f1: float | None = None
    other_accuracy: float | None = None
    f1_difference: Score | None = None
    accuracy_difference: float | None = None
    only_challenger_right: int | None = None
    only_other_right: int | None = None
    mcnemar_p: float | None = None
    labels: tuple[PartComparison, ...] = ()
    slices: tuple[PartComparison, ...] = ()
    parts_confidence: float | None = None
