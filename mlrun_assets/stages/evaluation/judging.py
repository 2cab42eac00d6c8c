"""The challenger's predictions of the test split, scored and held against another model's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from mlrun_assets.arrays import BoolArray, LabelIds
from mlrun_assets.config import Config
from mlrun_assets.metrics import score
from mlrun_assets.records import (
    MIN_ROWS_JUDGED,
    Comparison,
    PartComparison,
    Score,
    Scores,
    SliceScores,
)
from mlrun_assets.stages.evaluation.parts import (
    Part,
    compare_part,
    hold_together,
    labels_of,
    score_slice,
    slices_of,
)
from mlrun_assets.statistics import Average, mcnemar_exact, paired_f1_difference


@dataclass(frozen=True)
class Judged:
    """The test split with the challenger's predictions."""

    frame: pl.DataFrame
    truth: LabelIds
    guess: LabelIds
    labels: tuple[str, ...]
    config: Config

    @property
    def average(self) -> Average:
        return self.config.evaluation.f1

    @property
    def right(self) -> BoolArray:
        return np.asarray(self.guess == self.truth)

    @cached_property
    def slices(self) -> tuple[Part, ...]:
        return slices_of(self.frame, self.config.data, self.config.model.max_length)

    def names(self, numbers: LabelIds) -> pl.Series:
        """Label numbers as labels."""
        return pl.Series([self.labels[number] for number in numbers], dtype=pl.String)

    def compare(self, against: str, other: LabelIds) -> Comparison:
        """The challenger against the predictions of another model on the same rows."""
        evaluation = self.config.evaluation
        difference = paired_f1_difference(
            self.truth,
            (self.guess, other),
            self.average,
            (evaluation.resamples, evaluation.confidence, self.config.training.seed),
        )
        right, other_right = self.right, other == self.truth
        only_challenger = int((right & ~other_right).sum())
        only_other = int((other_right & ~right).sum())
        scores = score(self.truth, other, self.labels, evaluation, self.config.training.seed)
        f1 = scores.f1_macro if self.average == "macro" else scores.f1_weighted
        labels = _with_rows({part.value: part for part in labels_of(self.truth, self.labels)})
        slices = _with_rows({part.name: part for part in self.slices})
        together = hold_together(evaluation.confidence, len(labels) + len(slices))
        return Comparison(
            against=against,
            comparable=True,
            reason="the same rows, aligned by id",
            rows=len(self.truth),
            other_f1=f1.value,
            other_accuracy=scores.accuracy.value,
            f1_difference=Score(value=difference.value, low=difference.low, high=difference.high),
            accuracy_difference=float(right.mean() - other_right.mean()),
            only_challenger_right=only_challenger,
            only_other_right=only_other,
            mcnemar_p=mcnemar_exact(only_challenger, only_other),
            labels=_compare_parts(labels, (right, other_right), together),
            slices=_compare_parts(slices, (right, other_right), together),
            parts_confidence=together,
        )

    def score_slices(self) -> tuple[SliceScores, ...]:
        """The challenger's accuracy on each slice."""
        confidence = self.config.evaluation.confidence
        return tuple(score_slice(part, self.right, confidence) for part in self.slices)

    def score_without_leaks(self) -> Scores | None:
        """Scores on the test rows that no other split knows.

        None where that is all rows or none of them, or where split_leakage was turned off.
        """
        if "leaks" not in self.frame.columns:
            return None
        clean = ~self.frame["leaks"].to_numpy()
        if clean.all() or not clean.any():
            return None
        evaluation, seed = self.config.evaluation, self.config.training.seed
        return score(self.truth[clean], self.guess[clean], self.labels, evaluation, seed)


def _with_rows(parts: dict[str, Part]) -> dict[str, Part]:
    """Those, by the name they are called by, that have rows enough to tell."""
    return {name: part for name, part in parts.items() if len(part.rows) >= MIN_ROWS_JUDGED}


def _compare_parts(
    parts: dict[str, Part], right: tuple[BoolArray, BoolArray], confidence: float
) -> tuple[PartComparison, ...]:
    return tuple(compare_part(name, part.rows, right, confidence) for name, part in parts.items())
