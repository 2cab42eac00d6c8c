"""The scores of one model: on a split, a label and a slice, and over seeds."""

from __future__ import annotations

from mlrun_assets.records.record import Record

MIN_ROWS_JUDGED = 30
"""A label or slice with fewer test rows is neither scored nor judged: too few to tell."""


class Score(Record):
    """A score with the interval of the configured confidence."""

    value: float
    low: float
    high: float


class ClassScores(Record):
    """How one label is predicted."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


class Scores(Record):
    """How one model does on one split."""

    rows: int
    accuracy: Score
    f1_macro: Score
    f1_weighted: Score
    mcc: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


class SliceScores(Record):
    """Scores on a part of the test split; none where there are too few rows to tell."""

    column: str
    value: str
    rows: int
    accuracy: Score | None


class SeedScores(Record):
    """Test scores of the model of one seed."""

    seed: int
    accuracy: float
    f1_macro: float
    f1_weighted: float


class Spread(Record):
    """Mean and sample standard deviation over seeds."""

    mean: float
    sd: float


class SeedSpread(Record):
    """How the test scores vary with the seed."""

    accuracy: Spread
    f1_macro: Spread
    f1_weighted: Spread
