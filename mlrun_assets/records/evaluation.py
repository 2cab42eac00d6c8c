"""What the test split says about the checkpoint."""

from __future__ import annotations

from typing import ClassVar

from mlrun_assets.records.calibration import Calibration
from mlrun_assets.records.comparison import Comparison
from mlrun_assets.records.record import Record
from mlrun_assets.records.scores import Score, Scores, SeedScores, SeedSpread, SliceScores, Spread


class TestUse(Record):
    """How worn the test split is: how many models have been judged on it, this one included.

    ``confidence`` is what the intervals have after the correction.
    """

    looks: int
    max_looks: int
    confidence: float

    @property
    def worn(self) -> bool:
        return self.looks > self.max_looks


class LabelNext(Record):
    """Rows that a person should label next, in ``label_next_file``.

    Of ``candidates`` rows of ``split`` (``unlabelled``, or ``val`` where there are none) ``rows``
    are listed; ``doubted`` of these have a label that no model gives.
    """

    split: str
    candidates: int
    rows: int
    doubted: int


class EvaluationRecord(Record):
    """How the checkpoint does on the test split; with several seeds, how each of them does."""

    asset: ClassVar[str] = "evaluation_metrics"

    test_digest: str
    labels: tuple[str, ...]
    f1_kind: str
    confidence: float
    val: Scores
    test: Scores
    test_without_leaks: Scores | None = None
    calibration_error: float
    slices: tuple[SliceScores, ...]
    baseline: Comparison
    production: Comparison | None
    predictions_file: str
    rows_per_second: float
    seeds: tuple[SeedScores, ...] = ()
    over_seeds: SeedSpread | None = None
    calibration: Calibration | None = None
    test_use: TestUse | None = None
    label_next_file: str | None = None
    label_next: LabelNext | None = None

    @property
    def f1(self) -> Score:
        """The F1 that ``min_f1`` means."""
        return self.test.f1_macro if self.f1_kind == "macro" else self.test.f1_weighted

    @property
    def f1_over_seeds(self) -> Spread | None:
        """That F1 over the seeds; None: only one was trained."""
        spread = self.over_seeds
        if spread is None:
            return None
        return spread.f1_macro if self.f1_kind == "macro" else spread.f1_weighted
