"""Scores of predictions: accuracy, F1 and MCC, through `evaluate` and scikit-learn.

Point values come from `evaluate` metrics that are defined here, with scikit-learn inside:
``evaluate.load`` would fetch its script from the Hub. Intervals come from `statistics`.
"""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

import numpy as np
import polars as pl

from mlrun_assets.config import EvaluationConfig
from mlrun_assets.records import ClassScores, Score, Scores, SeedScores, SeedSpread, Spread
from mlrun_assets.statistics import bootstrap_f1, confusion_matrix, f1_of_confusion, wilson_interval
from mlrun_assets.types import LabelIds


def label_numbers(labels: pl.Series, names: tuple[str, ...]) -> LabelIds:
    """Labels as indices into ``names``, shape (rows,)."""
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[label] for label in labels], dtype=np.int64)


def combined_metrics() -> Any:
    """``evaluate.combine`` of accuracy, macro-F1, weighted-F1 and MCC; works without a network."""
    import datasets
    import evaluate
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    features = datasets.Features(
        {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
    )

    class _Metric(evaluate.Metric):  # type: ignore[misc]
        def __init__(self, name: str, score: Any) -> None:
            self._score = score
            super().__init__(config_name=name, keep_in_memory=True)

        def _info(self) -> Any:
            return evaluate.MetricInfo(description=self.config_name, citation="", features=features)

        def _compute(self, predictions: LabelIds, references: LabelIds) -> dict[str, float]:
            return {self.config_name: float(self._score(references, predictions))}

    def f1(average: str) -> Any:
        # Of the labels that have rows, as in `f1_of_confusion`.
        return lambda truth, predicted_ids: f1_score(
            truth, predicted_ids, labels=np.unique(truth), average=average, zero_division=0
        )

    return evaluate.combine(
        [
            _Metric("accuracy", accuracy_score),
            _Metric("f1_macro", f1("macro")),
            _Metric("f1_weighted", f1("weighted")),
            _Metric("mcc", matthews_corrcoef),
        ]
    )


def val_metrics(truth: LabelIds, predicted_ids: LabelIds) -> dict[str, float]:
    """``accuracy`` and ``f1_macro`` of predictions, both of shape (rows,)."""
    confusion = confusion_matrix(
        truth, predicted_ids, int(max(truth.max(), predicted_ids.max())) + 1
    )
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "f1_macro": float(f1_of_confusion(confusion, "macro")),
    }


def score(
    truth: LabelIds,
    predicted_ids: LabelIds,
    labels: tuple[str, ...],
    config: EvaluationConfig,
    seed: int,
) -> Scores:
    """All scores of predictions; truth and predictions are indices of ``labels``, shape (rows,).

    The interval of the accuracy is Wilson's, those of the F1 come from a bootstrap.
    """
    values = combined_metrics().compute(predictions=predicted_ids, references=truth)
    confusion = confusion_matrix(truth, predicted_ids, len(labels))
    intervals = {
        average: bootstrap_f1(confusion, average, config.resamples, config.confidence, seed)
        for average in ("macro", "weighted")
    }
    correct = int(np.trace(confusion))
    low, high = wilson_interval(correct, len(truth), config.confidence)
    return Scores(
        rows=len(truth),
        accuracy=Score(value=values["accuracy"], low=low, high=high),
        f1_macro=_score(values["f1_macro"], intervals["macro"]),
        f1_weighted=_score(values["f1_weighted"], intervals["weighted"]),
        mcc=values["mcc"],
        per_class=_per_class(truth, predicted_ids, labels),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def seed_scores(seed: int, truth: LabelIds, predicted_ids: LabelIds) -> SeedScores:
    """Scores, without intervals, of the model of one seed."""
    values = combined_metrics().compute(predictions=predicted_ids, references=truth)
    return SeedScores(
        seed=seed,
        accuracy=values["accuracy"],
        f1_macro=values["f1_macro"],
        f1_weighted=values["f1_weighted"],
    )


def over_seeds(seeds: tuple[SeedScores, ...]) -> SeedSpread | None:
    """Mean and sample standard deviation of each score; None: there are fewer than two seeds."""
    if len(seeds) < 2:
        return None

    def spread(values: list[float]) -> Spread:
        return Spread(mean=fmean(values), sd=stdev(values))

    return SeedSpread(
        accuracy=spread([seed.accuracy for seed in seeds]),
        f1_macro=spread([seed.f1_macro for seed in seeds]),
        f1_weighted=spread([seed.f1_weighted for seed in seeds]),
    )


def _score(value: float, interval: tuple[float, float]) -> Score:
    return Score(value=value, low=interval[0], high=interval[1])


def _per_class(
    truth: LabelIds, predicted_ids: LabelIds, labels: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    numbers = range(len(labels))
    columns = precision_recall_fscore_support(truth, predicted_ids, labels=numbers, zero_division=0)
    predicted = np.bincount(predicted_ids, minlength=len(labels))
    return tuple(
        ClassScores(
            label=label,
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            support=int(support),
            predicted=int(predicted[number]),
        )
        for number, (label, precision, recall, f1, support) in enumerate(
            zip(labels, *columns, strict=True)
        )
    )
