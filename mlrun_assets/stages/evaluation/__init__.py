"""Stage ``evaluation_metrics``: the checkpoint beside the baseline and production."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mlrun_assets.config import Config
from mlrun_assets.errors import ExportError
from mlrun_assets.metrics import label_numbers, over_seeds, score, seed_scores
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    Comparison,
    DatasetRecord,
    EvaluationRecord,
    ProductionVersion,
    SeedScores,
)
from mlrun_assets.stages.evaluation.judging import Judged
from mlrun_assets.statistics import expected_calibration_error

PREDICTIONS_FILE = "records/predictions.parquet"


@dataclass(frozen=True)
class Deployed:
    """The model in production: what is known of it, and where it lies."""

    version: ProductionVersion
    model_dir: Path


@dataclass(frozen=True)
class Candidates:
    """The models that are held against each other."""

    checkpoint: CheckpointRecord
    baseline: BaselineRecord
    production: Deployed | None


def evaluate_checkpoint(
    directory: Path, dataset: DatasetRecord, candidates: Candidates, config: Config
) -> EvaluationRecord:
    """Score the checkpoint, and compare it with the baseline and the model in production.

    The predictions of every test row, with probabilities, go to ``records/predictions.parquet``.
    """
    from mlrun_assets.trainer.prediction import Predictor

    started = time.perf_counter()
    predictor = Predictor(directory / candidates.checkpoint.model_dir, dataset.max_length)
    frames = {
        split: pl.read_parquet(directory / dataset.splits[split].file) for split in ("val", "test")
    }
    labels = predictor.labels
    probabilities = {
        split: predictor.probabilities(frame["text"].to_list()) for split, frame in frames.items()
    }
    seconds = time.perf_counter() - started
    truth = {split: label_numbers(frame["label"], labels) for split, frame in frames.items()}
    guess = {split: values.argmax(axis=1) for split, values in probabilities.items()}
    scores = {
        split: score(truth[split], guess[split], labels, config.evaluation, config.training.seed)
        for split in frames
    }
    judged = Judged(frames["test"], truth["test"], guess["test"], labels, config)
    seeds = _seed_scores(directory, candidates.checkpoint, judged, dataset.max_length)
    _write_predictions(directory / PREDICTIONS_FILE, judged, probabilities["test"])
    return EvaluationRecord(
        test_digest=dataset.splits["test"].source_digest,
        labels=labels,
        f1_kind=config.evaluation.f1,
        confidence=config.evaluation.confidence,
        val=scores["val"],
        test=scores["test"],
        test_without_leaks=judged.score_without_leaks(),
        calibration_error=expected_calibration_error(probabilities["test"], truth["test"]),
        slices=judged.score_slices(),
        baseline=_against_baseline(judged, directory / candidates.baseline.predictions_file),
        production=_against_production(judged, candidates.production),
        predictions_file=PREDICTIONS_FILE,
        seconds=seconds,
        rows_per_second=sum(frame.height for frame in frames.values()) / seconds,
        seeds=seeds,
        over_seeds=over_seeds(seeds),
    )


def _seed_scores(
    directory: Path, checkpoint: CheckpointRecord, judged: Judged, max_length: int
) -> tuple[SeedScores, ...]:
    """Test scores of the model of each seed; none where only one was trained."""
    from mlrun_assets.trainer.prediction import Predictor

    if len(checkpoint.seeds) < 2:
        return ()
    texts, scores = judged.frame["text"].to_list(), []
    for seed in checkpoint.seeds:
        guess = judged.guess
        if seed.seed != checkpoint.seed:
            predictor = Predictor(directory / seed.model_dir, max_length)
            guess = predictor.probabilities(texts).argmax(axis=1)
        scores.append(seed_scores(seed.seed, judged.truth, guess))
    return tuple(scores)


def _against_baseline(judged: Judged, predictions: Path) -> Comparison:
    other = judged.frame.select("id").join(
        pl.read_parquet(predictions), on="id", how="left", maintain_order="left"
    )
    return judged.compare("n-gram baseline", label_numbers(other["prediction"], judged.labels))


def _against_production(judged: Judged, deployed: Deployed | None) -> Comparison | None:
    if deployed is None:
        return None
    version = deployed.version
    if set(version.labels) != set(judged.labels):
        theirs, ours = ", ".join(version.labels), ", ".join(judged.labels)
        return _incomparable(version, f"production knows the labels {theirs}; this model {ours}")
    from mlrun_assets.trainer.prediction import Predictor

    try:
        predictor = Predictor(deployed.model_dir, version.max_length)
    except ExportError as error:
        return _incomparable(version, f"the model in production can't be used: {error}")
    if set(predictor.labels) != set(judged.labels):
        return _incomparable(version, "the labels of the model in production are not its record's")
    values = predictor.probabilities(judged.frame["text"].to_list())
    names = pl.Series([predictor.labels[number] for number in values.argmax(axis=1)])
    return judged.compare(version.version, label_numbers(names, judged.labels))


def _incomparable(version: ProductionVersion, reason: str) -> Comparison:
    return Comparison(against=version.version, comparable=False, reason=reason, rows=0)


def _write_predictions(file: Path, judged: Judged, probabilities: npt.NDArray[np.float64]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = [
        pl.Series("prediction", [judged.labels[number] for number in judged.guess]),
        *(
            pl.Series(f"probability_{label}", probabilities[:, number])
            for number, label in enumerate(judged.labels)
        ),
    ]
    judged.frame.select("id", "label").with_columns(columns).write_parquet(file)
