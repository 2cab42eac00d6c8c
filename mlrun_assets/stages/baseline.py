"""Stage ``baseline_metrics``: what the commonest label and a model that trains in seconds reach."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.arrays import LabelIds
from mlrun_assets.config import EvaluationConfig
from mlrun_assets.experiment_store import ExperimentPaths
from mlrun_assets.metrics import label_numbers, score
from mlrun_assets.ngrams.candidates import fit_best
from mlrun_assets.records import SPLITS, BaselineRecord, DatasetRecord


def measure_baseline(
    directory: Path, dataset: DatasetRecord, config: EvaluationConfig, seed: int
) -> BaselineRecord:
    """Score the majority label and the best of three linear models on n-grams.

    The model is chosen by val macro-F1 and scored on test; it reads the first 128 words of a text.
    Its predictions of the test split go to ``records/baseline_predictions.parquet``, the model
    itself to ``baseline/``, so that it can be asked about other texts.
    """
    from mlrun_assets.ngrams.linear import save_fitted

    started = time.perf_counter()
    frames = {split: pl.read_parquet(directory / dataset.splits[split].file) for split in SPLITS}
    truth = {
        split: label_numbers(frame["label"], dataset.labels) for split, frame in frames.items()
    }
    texts = {split: frame["text"].to_list() for split, frame in frames.items()}
    fitted = fit_best((texts["train"], truth["train"]), (texts["val"], truth["val"]), seed)
    guess = fitted.predict(texts["test"])
    majority = Counter(truth["train"].tolist()).most_common(1)[0][0]
    paths = ExperimentPaths(directory)
    _write(paths.baseline_predictions, frames["test"], guess, dataset.labels)
    save_fitted(fitted, dataset.labels, paths.baseline_model)
    return BaselineRecord(
        candidates=fitted.candidates,
        chosen=fitted.name,
        majority_label=dataset.labels[majority],
        majority=score(
            truth["test"], np.full_like(truth["test"], majority), dataset.labels, config, seed
        ),
        linear=score(truth["test"], guess, dataset.labels, config, seed),
        predictions_file=paths.relative(paths.baseline_predictions),
        seconds=time.perf_counter() - started,
        model_dir=paths.relative(paths.baseline_model),
    )


def _write(file: Path, test: pl.DataFrame, guess: LabelIds, labels: tuple[str, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    predictions = pl.Series("prediction", [labels[number] for number in guess], dtype=pl.String)
    test.select("id", "label").with_columns(predictions).write_parquet(file)
