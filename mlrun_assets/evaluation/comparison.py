"""The challenger on the test split: its labels and slices, and comparisons with other models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.config import Config, DataConfig, extra_column
from mlrun_assets.data.text import language_profile
from mlrun_assets.errors import ExportError, RecordError, listed
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
from mlrun_assets.statistics import (
    mcnemar_exact,
    paired_f1_difference,
    paired_proportion_difference,
    wilson_interval,
)
from mlrun_assets.types import BoolArray, LabelIds, Probabilities, RowNumbers

# Labels and slices of the test split


class Slice(NamedTuple):
    """Rows that have ``value`` in ``column``; ``rows`` are their positions, in order."""

    column: str
    value: str
    rows: RowNumbers

    @property
    def name(self) -> str:
        return f"{self.column}: {self.value}"


def slices_of(frame: pl.DataFrame, data: DataConfig, max_length: int) -> tuple[Slice, ...]:
    """Terciles of the length, truncated or not, code-switched or not, and `data.slice_columns`.

    ``frame`` is a validated split. Rows of equal length keep their order. A row without a value in
    a column is in none of its slices; if all rows are truncated, or none is, there is no
    ``truncated`` slice. The same holds for code-switching.
    """
    order = np.argsort(frame["tokens"].to_numpy(), kind="stable")
    terciles = zip(("short", "medium", "long"), np.array_split(order, 3), strict=True)
    found = [Slice("length", value, np.sort(rows)) for value, rows in terciles]
    in_two = {"truncated": frame["tokens"] > max_length, "code-switched": frame["code_switched"]}
    columns = {
        name: pl.Series(["no", "yes"], dtype=pl.String).gather(values.cast(pl.UInt32))
        for name, values in in_two.items()
        if values.any() and not values.all()
    }
    columns |= {column: frame[extra_column(column)] for column in data.slice_columns}
    for column, values in columns.items():
        rows = pl.DataFrame({"value": values, "row": np.arange(len(values))}).drop_nulls("value")
        for (value,), part in sorted(rows.group_by(["value"], maintain_order=True)):
            found.append(Slice(column, str(value), part["row"].to_numpy()))
    return tuple(found)


def score_slice(part: Slice, right: BoolArray, confidence: float) -> SliceScores:
    """Accuracy with Wilson's interval; None for a slice with too few rows."""
    rows, accuracy = len(part.rows), None
    if rows >= MIN_ROWS_JUDGED:
        correct = int(right[part.rows].sum())
        low, high = wilson_interval(correct, rows, confidence)
        accuracy = Score(value=correct / rows, low=low, high=high)
    return SliceScores(column=part.column, value=part.value, rows=rows, accuracy=accuracy)


def joint_confidence(confidence: float, intervals: int) -> float:
    """The confidence of each of ``intervals`` intervals so that all hold with ``confidence``.

    This is the Bonferroni correction for multiple comparisons.
    """
    return 1 - (1 - confidence) / max(1, intervals)


def compare_slice(
    name: str, rows: RowNumbers, right: tuple[BoolArray, BoolArray], confidence: float
) -> SliceComparison:
    """The recall that the first of two models loses against the second on ``rows``."""
    ours, other = (each[rows] for each in right)
    outcomes = (ours & other, other & ~ours, ours & ~other, ~ours & ~other)
    both, only_other, only_ours, neither = (int(each.sum()) for each in outcomes)
    return SliceComparison(
        name=name,
        rows=len(rows),
        recall=float(ours.mean()),
        other_recall=float(other.mean()),
        loss=paired_proportion_difference((both, only_other, only_ours, neither), confidence),
    )


# The challenger beside another model


@dataclass(frozen=True)
class ChallengerPredictions:
    """A split with the challenger's probabilities."""

    frame: pl.DataFrame
    truth: LabelIds
    probabilities: Probabilities
    labels: tuple[str, ...]
    config: Config

    @cached_property
    def predicted_ids(self) -> LabelIds:
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def right(self) -> BoolArray:
        return np.asarray(self.predicted_ids == self.truth)

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        return slices_of(self.frame, self.config.data, self.config.model.max_length)

    def compare(self, against: str, other: LabelIds) -> Comparison:
        """Compare the challenger with the predictions of another model on the same rows."""
        evaluation, seed = self.config.evaluation, self.config.training.seed
        right = (self.right, other == self.truth)
        only_challenger = int((right[0] & ~right[1]).sum())
        only_other = int((right[1] & ~right[0]).sum())
        scores = score(self.truth, other, self.labels, evaluation, seed)
        f1: Score = getattr(scores, f"f1_{evaluation.f1}")
        by_label = {
            label: np.flatnonzero(self.truth == number) for number, label in enumerate(self.labels)
        }
        by_slice = {each.name: each.rows for each in self.slices}
        judged = [
            {name: rows for name, rows in parts.items() if len(rows) >= MIN_ROWS_JUDGED}
            for parts in (by_label, by_slice)
        ]
        together = joint_confidence(evaluation.confidence, sum(map(len, judged)))
        labels, slices = (
            tuple(compare_slice(name, rows, right, together) for name, rows in parts.items())
            for parts in judged
        )
        return Comparison(
            against=against,
            comparable=True,
            reason="the same rows, aligned by id",
            rows=len(self.truth),
            other_f1=f1,
            other_accuracy=scores.accuracy,
            f1_difference=paired_f1_difference(
                self.truth,
                (self.predicted_ids, other),
                evaluation.f1,
                (evaluation.resamples, evaluation.confidence, seed),
            ),
            accuracy_difference=float(right[0].mean() - right[1].mean()),
            only_challenger_right=only_challenger,
            only_other_right=only_other,
            mcnemar_p=mcnemar_exact(only_challenger, only_other),
            labels=labels,
            slices=slices,
            joint_confidence=together,
        )

    def score_slices(self) -> tuple[SliceScores, ...]:
        """The challenger's accuracy on each slice."""
        confidence = self.config.evaluation.confidence
        return tuple(score_slice(each, self.right, confidence) for each in self.slices)

    def score(self) -> Scores:
        """Scores on all rows."""
        return self._score(np.ones(len(self.truth), dtype=bool))

    def score_without_leaks(self) -> Scores | None:
        """Scores on the test rows that do not leak from another split.

        None where that is all rows or none of them, or where split_leakage was turned off.
        """
        if "leaks" not in self.frame.columns:
            return None
        clean = ~self.frame["leaks"].to_numpy()
        return None if clean.all() or not clean.any() else self._score(clean)

    def _score(self, rows: BoolArray) -> Scores:
        evaluation, seed = self.config.evaluation, self.config.training.seed
        return score(self.truth[rows], self.predicted_ids[rows], self.labels, evaluation, seed)


BASELINE = "n-gram baseline"


class Deployed(NamedTuple):
    """The model in production: its record and its directory."""

    version: ProductionVersion
    model_dir: Path


class ReferenceModel(NamedTuple):
    """A model to compare with; ``predict`` returns indices of the challenger's labels."""

    name: str
    predict: Callable[[list[str]], LabelIds]


def read_baseline_predictions(file: Path) -> pl.DataFrame:
    """The baseline's predictions on the test rows: the columns ``id`` and ``prediction``.

    Raises:
        RecordError: the file is gone, or can't be read.
    """
    try:
        return pl.read_parquet(file, glob=False, columns=["id", "prediction"])
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
) -> ReferenceModel | Comparison:
    """The model in production, or the record of why it can't be compared."""
    from mlrun_assets.models.predictor import Predictor

    version = deployed.version
    reason = _why_incomparable(deployed, labels, data)
    if reason is None:
        try:
            predictor = Predictor(deployed.model_dir, version.max_length)
        except ExportError as error:
            reason = f"the model in production can't be used: {error}"
        else:
            if set(predictor.labels) == set(labels):
                predict = _predicting(predictor.probabilities, predictor.labels, labels)
                return ReferenceModel(version.version, predict)
            reason = "the labels of the model in production are not its record's"
    return Comparison(against=version.version, comparable=False, reason=reason, rows=0)


def _why_incomparable(deployed: Deployed, labels: tuple[str, ...], data: DataConfig) -> str | None:
    """The difference from the challenger in labels, columns or language, or changed files."""
    version = deployed.version
    if set(version.labels) != set(labels):
        theirs, ours = listed(version.labels), listed(labels)
        return f"production knows the labels {theirs}; this model {ours}"
    if version.text_columns and version.text_columns != data.text_columns:
        theirs, ours = ", ".join(version.text_columns), ", ".join(data.text_columns)
        return f"production reads the text columns {theirs}; this model {ours}"
    language = version.language or data.language
    if language_profile(language).steps != language_profile(data.language).steps:
        return (
            f"production reads texts in the normal form of {language}; this model {data.language}"
        )
    try:
        changed = digest_directory(deployed.model_dir) != version.digest
    except OSError as error:
        return f"the files of the model in production can't be read: {error.strerror}"
    if not changed:
        return None
    return (
        f"the files of the model in production were changed since {version.version} was promoted; "
        "roll back to a version that is whole, or promote one"
    )


def _predicting(
    scores: Callable[[list[str]], Probabilities], own: tuple[str, ...], labels: tuple[str, ...]
) -> Callable[[list[str]], LabelIds]:
    """A function from texts to indices of ``labels``, for a model whose own order is ``own``."""
    numbers = np.array([labels.index(name) for name in own], dtype=np.int64)
    return lambda texts: np.asarray(numbers[scores(texts).argmax(axis=1)])
