"""A fitted n-gram model as arrays: every candidate is a linear map of its features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mlrun_assets.arrays import Float32Array
from mlrun_assets.files import write_atomically
from mlrun_assets.ngrams.candidates import WORDS_READ, Fitted
from mlrun_assets.ngrams.ngram_scorer import NGRAMS_DIR


def save_fitted(fitted: Fitted, labels: tuple[str, ...], model_dir: Path) -> None:
    """Write the model to ``ngrams/`` in ``model_dir``; alone it serves with the weights 0 and 1."""
    from safetensors.numpy import save

    union, classifier = (step for _, step in fitted.model.steps)
    vectorizers = [vectorizer for _, vectorizer in union.transformer_list]
    weights, bias = _of_all_labels(classifier, len(labels))
    arrays = {"weights": weights, "bias": bias}
    for number, vectorizer in enumerate(vectorizers):
        if hasattr(vectorizer, "idf_"):
            arrays[f"idf_{number}"] = vectorizer.idf_.astype(np.float32)
    settings = {
        "model": fitted.name,
        "labels": labels,
        "encoder_weight": 0.0,
        "ngram_weight": 1.0,
        "words_read": WORDS_READ,
        "blocks": [
            {
                "analyzer": vectorizer.analyzer,
                "ngram_range": vectorizer.ngram_range,
                "vocabulary": vectorizer.get_feature_names_out().tolist(),
            }
            for vectorizer in vectorizers
        ],
    }
    directory = model_dir / NGRAMS_DIR
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "model.safetensors", save(arrays))
    write_atomically(directory / "model.json", orjson.dumps(settings))


def set_weights(model_dir: Path, encoder_weight: float, ngram_weight: float) -> None:
    """Write with which weights the scores are mixed with the encoder's logits."""
    file = model_dir / NGRAMS_DIR / "model.json"
    settings = orjson.loads(file.read_bytes())
    settings |= {"encoder_weight": encoder_weight, "ngram_weight": ngram_weight}
    write_atomically(file, orjson.dumps(settings))


def _of_all_labels(classifier: Any, count: int) -> tuple[Float32Array, Float32Array]:
    """The linear map with a row for each of ``count`` labels.

    One without a training row takes the least of every weight and of the bias, and so never scores
    above the others: no feature is negative.
    """
    weights, bias = _linear_map(classifier)
    full = np.repeat(weights.min(axis=0, keepdims=True), count, axis=0)
    full_bias = np.full(count, bias.min(), dtype=bias.dtype)
    full[classifier.classes_], full_bias[classifier.classes_] = weights, bias
    return full, full_bias


def _linear_map(classifier: Any) -> tuple[Float32Array, Float32Array]:
    """Weights of shape (labels, n-grams) and bias of shape (labels,) of a fitted classifier."""
    if hasattr(classifier, "coef_"):
        weights, bias = classifier.coef_, classifier.intercept_
        if len(weights) == 1:  # of two labels scikit-learn keeps the second one's only
            weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    else:
        weights = classifier.feature_log_prob_
        bias = np.zeros(len(weights))
        if len(classifier.classes_) == 1:
            bias = classifier.class_log_prior_
    # scikit-learn keeps some weights in Fortran's order, which safetensors would take for C's.
    return weights.astype(np.float32, order="C"), bias.astype(np.float32)
