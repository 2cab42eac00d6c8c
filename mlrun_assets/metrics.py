"""Scores of predictions: accuracy, F1 and MCC, through `evaluate` and scikit-learn.

Point values come from an `evaluate` metric that is defined here, with scikit-learn inside:
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

_SCORES = ("accuracy", "f1_macro", "f1_weighted")


def label_numbers(labels: pl.Series, names: tuple[str, ...]) -> LabelIds:
    """Labels as indices into ``names``, shape (rows,)."""
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[label] for label in labels], dtype=np.int64)


def _values(truth: LabelIds, predicted_ids: LabelIds) -> dict[str, float]:
    """``accuracy``, ``f1_macro``, ``f1_weighted`` and ``mcc``, through `evaluate`."""
    import datasets
    import evaluate
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    whole = datasets.Value("int64")
    features = datasets.Features({"predictions": whole, "references": whole})

    class _Metric(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            return evaluate.MetricInfo(description="", citation="", features=features)

        def _compute(self, predictions: LabelIds, references: LabelIds) -> dict[str, float]:
            # F1 of the labels that have rows, as in `f1_of_confusion`.
            scored: dict[str, Any] = {"labels": np.unique(references), "zero_division": 0}
            return {
                "accuracy": accuracy_score(references, predictions),
                "f1_macro": f1_score(references, predictions, average="macro", **scored),
                "f1_weighted": f1_score(references, predictions, average="weighted", **scored),
                "mcc": matthews_corrcoef(references, predictions),
            }

    found = _Metric(keep_in_memory=True).compute(predictions=predicted_ids, references=truth)
    return {name: float(value) for name, value in found.items()}


def val_metrics(truth: LabelIds, predicted_ids: LabelIds) -> dict[str, float]:
    """``accuracy`` and ``f1_macro`` of predictions, both of shape (rows,)."""
    labels = int(max(truth.max(), predicted_ids.max())) + 1
    confusion = confusion_matrix(truth, predicted_ids, labels)
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
    from sklearn.metrics import precision_recall_fscore_support

    values, confusion = (
        _values(truth, predicted_ids),
        confusion_matrix(truth, predicted_ids, len(labels)),
    )
    bootstrap = (config.resamples, config.confidence, seed)
    intervals = (
        wilson_interval(int(np.trace(confusion)), len(truth), config.confidence),
        bootstrap_f1(confusion, "macro", *bootstrap),
        bootstrap_f1(confusion, "weighted", *bootstrap),
    )
    by_label = precision_recall_fscore_support(
        truth, predicted_ids, labels=range(len(labels)), zero_division=0
    )
    names = ("label", "precision", "recall", "f1", "support", "predicted")
    columns = zip(labels, *by_label, confusion.sum(axis=0), strict=True)
    return Scores(
        rows=len(truth),
        **{
            name: Score(value=values[name], low=low, high=high)
            for name, (low, high) in zip(_SCORES, intervals, strict=True)
        },
        mcc=values["mcc"],
        per_class=tuple(ClassScores(**dict(zip(names, each, strict=True))) for each in columns),
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def seed_scores(seed: int, truth: LabelIds, predicted_ids: LabelIds) -> SeedScores:
    """Scores, without intervals, of the model of one seed."""
    values = _values(truth, predicted_ids)
    return SeedScores(seed=seed, **{name: values[name] for name in _SCORES})


def over_seeds(seeds: tuple[SeedScores, ...]) -> SeedSpread | None:
    """Mean and sample standard deviation of each score; None: there are fewer than two seeds."""
    if len(seeds) < 2:
        return None
    values = {name: [getattr(seed, name) for seed in seeds] for name in _SCORES}
    return SeedSpread(
        **{name: Spread(mean=fmean(each), sd=stdev(each)) for name, each in values.items()}
    )
