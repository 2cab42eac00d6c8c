"""An n-gram model beside a trained encoder: one directory, served as one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.metrics import label_numbers, val_metrics
from mlrun_assets.ngrams import ngram_scorer
from mlrun_assets.ngrams.candidates import fit_best
from mlrun_assets.ngrams.ensemble import fit_weights
from mlrun_assets.ngrams.linear import save_fitted, set_weights
from mlrun_assets.records import EnsembleRecord
from mlrun_assets.trainer.prediction import Predictor

SERVED_FILES = ("ngram_scorer.py", "ensemble_pipeline.py")
PIPELINE = {
    "text-classification": {
        "impl": "ensemble_pipeline.EnsemblePipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "text",
    }
}


def add_ngrams(
    model_dir: Path, splits: tuple[Path, Path], max_length: int, seed: int
) -> EnsembleRecord:
    """Fit an n-gram model and mix it with the encoder in ``model_dir``.

    Args:
        model_dir: a trained classifier; the n-gram model and what serves both are added to it.
        splits: the Parquet files of train, to fit the n-grams on, and val, to choose the n-gram
            model and the weights of the two by.
        max_length: tokens of a text that the encoder reads.
        seed: of the linear models.
    """
    predictor = Predictor(model_dir, max_length)
    labels = predictor.labels
    frames = [pl.read_parquet(file, columns=["text", "label"]) for file in splits]
    (train, train_truth), (val, truth) = (
        (frame["text"].to_list(), label_numbers(frame["label"], labels)) for frame in frames
    )
    fitted = fit_best((train, train_truth), (val, truth), seed)
    save_fitted(fitted, labels, model_dir)
    logits, scores = predictor.logits(val), ngram_scorer.NgramScorer(model_dir).scores(val)
    weights = fit_weights(logits, scores, truth)
    set_weights(model_dir, weights.encoder, weights.ngrams)
    _serve(model_dir)
    mixture = weights.encoder * logits + weights.ngrams * scores
    mixed = val_metrics(truth, np.argmax(mixture, axis=1))
    return EnsembleRecord(
        ngram_model=fitted.name,
        encoder_weight=weights.encoder,
        ngram_weight=weights.ngrams,
        val_f1_encoder=val_metrics(truth, np.argmax(logits, axis=1))["f1_macro"],
        val_f1_ngrams=val_metrics(truth, np.argmax(scores, axis=1))["f1_macro"],
        val_f1_mixed=mixed["f1_macro"],
        val_accuracy_mixed=mixed["accuracy"],
    )


def _serve(model_dir: Path) -> None:
    """Let transformers find the pipeline of both models."""
    for name in SERVED_FILES:
        shutil.copyfile(Path(ngram_scorer.__file__).with_name(name), model_dir / name)
    file = model_dir / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"custom_pipelines": PIPELINE}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
