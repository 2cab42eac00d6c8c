"""The challenger on the test split: its scores, and comparisons with baseline and production."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.config import Config, DataConfig
from mlrun_assets.data.text import language_profile
from mlrun_assets.errors import ExportError, RecordError
from mlrun_assets.evaluation.slices import (
    Slice,
    compare_slice,
    joint_confidence,
    labels_of,
    score_slice,
    slices_of,
)
from mlrun_assets.files import digest_directory
from mlrun_assets.metrics import score
from mlrun_assets.records import (
    MIN_ROWS_JUDGED,
    Comparison,
    ProductionVersion,
    Score,
    Scores,
    SliceComparison,
    SliceScores,
)
from mlrun_assets.statistics import Average, mcnemar_exact, paired_f1_difference
from mlrun_assets.types import BoolArray, LabelIds, Probabilities


@dataclass(frozen=True)
class ChallengerPredictions:
    """The test split with the challenger's predictions."""

    frame: pl.DataFrame
    truth: LabelIds
    predicted_ids: LabelIds
    labels: tuple[str, ...]
    config: Config

    @property
    def average(self) -> Average:
        return self.config.evaluation.f1

    @property
    def right(self) -> BoolArray:
        return np.asarray(self.predicted_ids == self.truth)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        return slices_of(self.frame, self.config.data, self.config.model.max_length)

    def names(self, numbers: LabelIds) -> pl.Series:
        """The labels of label indices."""
        return pl.Series([self.labels[number] for number in numbers], dtype=pl.String)

    def compare(self, against: str, other: LabelIds) -> Comparison:
        """Compare the challenger with the predictions of another model on the same rows."""
        evaluation = self.config.evaluation
        difference = paired_f1_difference(
            self.truth,
            (self.predicted_ids, other),
            self.average,
            (evaluation.resamples, evaluation.confidence, self.config.training.seed),
        )
        right, other_right = self.right, other == self.truth
        only_challenger = int((right & ~other_right).sum())
        only_other = int((other_right & ~right).sum())
        scores = score(self.truth, other, self.labels, evaluation, self.config.training.seed)
        f1 = scores.f1_macro if self.average == "macro" else scores.f1_weighted
        labels = _with_rows({each.value: each for each in labels_of(self.truth, self.labels)})
        slices = _with_rows({each.name: each for each in self.slices})
        together = joint_confidence(evaluation.confidence, len(labels) + len(slices))
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
            labels=_compare_slices(labels, (right, other_right), together),
            slices=_compare_slices(slices, (right, other_right), together),
            joint_confidence=together,
        )

    def score_slices(self) -> tuple[SliceScores, ...]:
        """The challenger's accuracy on each slice."""
        confidence = self.config.evaluation.confidence
        return tuple(score_slice(each, self.right, confidence) for each in self.slices)

    def score_without_leaks(self) -> Scores | None:
        """Scores on the test rows that do not leak from another split.

        None where that is all rows or none of them, or where split_leakage was turned off.
        """
        if "leaks" not in self.frame.columns:
            return None
        clean = ~self.frame["leaks"].to_numpy()
        if clean.all() or not clean.any():
            return None
        evaluation, seed = self.config.evaluation, self.config.training.seed
        return score(self.truth[clean], self.predicted_ids[clean], self.labels, evaluation, seed)


def _with_rows(slices: dict[str, Slice]) -> dict[str, Slice]:
    """The labels or slices with enough rows, by name."""
    return {name: each for name, each in slices.items() if len(each.rows) >= MIN_ROWS_JUDGED}


def _compare_slices(
    slices: dict[str, Slice], right: tuple[BoolArray, BoolArray], confidence: float
) -> tuple[SliceComparison, ...]:
    return tuple(compare_slice(name, each.rows, right, confidence) for name, each in slices.items())


BASELINE = "n-gram baseline"


@dataclass(frozen=True)
class Deployed:
    """The model in production: its record and its directory."""

    version: ProductionVersion
    model_dir: Path


@dataclass(frozen=True)
class ReferenceModel:
    """A model to compare with; ``predict`` returns indices of the challenger's labels."""

    name: str
    predict: Callable[[list[str]], LabelIds]


@dataclass(frozen=True)
class Incomparable:
    """A model that can't be compared with the challenger, and why."""

    name: str
    reason: str


def read_baseline_predictions(file: Path) -> pl.DataFrame:
    """The baseline's predictions on the test rows: the columns ``id`` and ``prediction``.

    Raises:
        RecordError: the file is gone, or can't be read.
    """
    try:
        return pl.read_parquet(file, columns=["id", "prediction"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _lost(file, error) from error


def open_baseline(model_dir: Path, labels: tuple[str, ...]) -> ReferenceModel:
    """Load the n-gram model of the baseline from ``model_dir``.

    Raises:
        RecordError: it is gone, or can't be read.
    """
    from safetensors import SafetensorError

    from mlrun_assets.models.served.ngram_scorer import NgramScorer

    try:
        scorer = NgramScorer(model_dir)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _lost(model_dir, error) from error
    return ReferenceModel(BASELINE, _predicting(scorer.scores, scorer.labels, labels))


def _lost(place: Path, error: Exception) -> RecordError:
    """Fail rather than skip it: the list of rows to label depends on the baseline."""
    why = "it is gone" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
    return RecordError(
        f"{place}: what the n-gram baseline left can't be read: {why}; materialize "
        "baseline_metrics again, in the same experiment"
    )


def open_production(
    deployed: Deployed, labels: tuple[str, ...], data: DataConfig
) -> ReferenceModel | Incomparable:
    """The model in production, or the reason why it can't be compared."""
    from mlrun_assets.models.predictor import Predictor

    version = deployed.version

    def incomparable(reason: str) -> Incomparable:
        return Incomparable(version.version, reason)

    if set(version.labels) != set(labels):
        theirs, ours = ", ".join(version.labels), ", ".join(labels)
        return incomparable(f"production knows the labels {theirs}; this model {ours}")
    if reason := _other_texts(version, data) or _harmed(deployed):
        return incomparable(reason)
    try:
        predictor = Predictor(deployed.model_dir, version.max_length)
    except ExportError as error:
        return incomparable(f"the model in production can't be used: {error}")
    if set(predictor.labels) != set(labels):
        return incomparable("the labels of the model in production are not its record's")
    return ReferenceModel(
        version.version, _predicting(predictor.probabilities, predictor.labels, labels)
    )


def _harmed(deployed: Deployed) -> str | None:
    """Why the files in production are not those that were promoted; None: they are."""
    try:
        digest = digest_directory(deployed.model_dir)
    except OSError as error:
        return f"the files of the model in production can't be read: {error.strerror}"
    version = deployed.version
    if digest == version.digest:
        return None
    return (
        f"the files of the model in production were changed since {version.version} was promoted; "
        "roll back to a version that is whole, or promote one"
    )


def _other_texts(version: ProductionVersion, data: DataConfig) -> str | None:
    """Why a version was trained on other columns or another language; None: it was not."""
    theirs, ours = version.text_columns, data.text_columns
    if theirs and theirs != ours:
        return (
            f"production reads the text columns {', '.join(theirs)}; this model {', '.join(ours)}"
        )
    language = version.language or data.language
    if language_profile(language).steps != language_profile(data.language).steps:
        return (
            f"production reads texts in the normal form of {language}; this model {data.language}"
        )
    return None


def _predicting(
    scores: Callable[[list[str]], Probabilities], own: tuple[str, ...], labels: tuple[str, ...]
) -> Callable[[list[str]], LabelIds]:
    """A function from texts to indices of ``labels``, for a model whose own order is ``own``."""
    numbers = np.array([labels.index(name) for name in own], dtype=np.int64)
    return lambda texts: np.asarray(numbers[scores(texts).argmax(axis=1)])
