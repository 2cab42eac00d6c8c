"""The models that the challenger is held against: the n-gram baseline and production."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.arrays import LabelIds, Probabilities
from mlrun_assets.config import DataConfig
from mlrun_assets.errors import ExportError, RecordError
from mlrun_assets.files import digest_directory
from mlrun_assets.records import ProductionVersion
from mlrun_assets.text import language_profile

BASELINE = "n-gram baseline"


@dataclass(frozen=True)
class Deployed:
    """The model in production: what is known of it, and where it lies."""

    version: ProductionVersion
    model_dir: Path


@dataclass(frozen=True)
class Opponent:
    """Another model of the same labels; ``predict`` gives their numbers in the challenger's."""

    name: str
    predict: Callable[[list[str]], LabelIds]


@dataclass(frozen=True)
class Incomparable:
    """A model that the challenger can't be held against, and why."""

    name: str
    reason: str


def read_baseline_predictions(file: Path) -> pl.DataFrame:
    """What the baseline said to the test rows: the columns ``id`` and ``prediction``.

    Raises:
        RecordError: the file is gone, or can't be read.
    """
    try:
        return pl.read_parquet(file, columns=["id", "prediction"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _lost(file, error) from error


def open_baseline(model_dir: Path, labels: tuple[str, ...]) -> Opponent:
    """The n-gram model that the baseline left in ``model_dir``.

    Raises:
        RecordError: it is gone, or can't be read.
    """
    from safetensors import SafetensorError

    from mlrun_assets.ngrams.ngram_scorer import NgramScorer

    try:
        scorer = NgramScorer(model_dir)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _lost(model_dir, error) from error
    return Opponent(BASELINE, _predicting(scorer.scores, scorer.labels, labels))


def _lost(place: Path, error: Exception) -> RecordError:
    """Without it the labels that a person should look at would be others: it is not left out."""
    why = "it is gone" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
    return RecordError(
        f"{place}: what the n-gram baseline left can't be read: {why}; materialize "
        "baseline_metrics again, in the same experiment"
    )


def open_production(
    deployed: Deployed, labels: tuple[str, ...], data: DataConfig
) -> Opponent | Incomparable:
    """The model in production, or why it is none that can be compared."""
    from mlrun_assets.trainer.prediction import Predictor

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
    return Opponent(version.version, _predicting(predictor.probabilities, predictor.labels, labels))


def _harmed(deployed: Deployed) -> str | None:
    """Why the files of the model in production are not what was promoted; None: they are."""
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
    """Why the texts of ``data`` are not what a version learned; None: they are, or nobody knows."""
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
    """The predictions, as numbers of ``labels``, of a model that scores ``own`` in their order."""
    numbers = np.array([labels.index(name) for name in own], dtype=np.int64)
    return lambda texts: np.asarray(numbers[scores(texts).argmax(axis=1)])
