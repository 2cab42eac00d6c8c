"""The n-gram model: the baseline, and a part of other models."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import Config
from mlrun_assets.data.splitting import LabelledRows
from mlrun_assets.data.text import first_words
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import write_atomically
from mlrun_assets.metrics import label_numbers, score, val_metrics
from mlrun_assets.records import BaselineRecord, DatasetRecord, NgramCandidate
from mlrun_assets.types import BoolArray, Float32Array, FloatArray, IntArray, LabelIds

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORDS_READ = 128


# The baseline


def measure_baseline(
    directory: Path, dataset: DatasetRecord, rows: LabelledRows, config: Config
) -> tuple[BaselineRecord, FloatArray]:
    """Score the majority label and the better of two linear models on n-grams.

    The model is chosen by macro-F1 in cross-validation on train and val, fitted on both, and scored
    on test. Its predictions for the test split are written to
    ``records/baseline_predictions.parquet``; the model is saved to ``baseline/``, to predict other
    texts later.

    Returns:
        The record, and the model's scores of ``rows``, shape (rows, labels): those of a row come
        from a model that was fitted without its fold.
    """
    started = time.perf_counter()
    seed, labels = config.training.seed, rows.labels
    vectorizers, blocks = count_ngrams(rows.texts)
    tried, scores = [], {}
    for name in MODELS:
        began = time.perf_counter()
        scores[name] = rows.score_out_of_fold(partial(_score, name, blocks, rows, seed))
        metrics = val_metrics(rows.truth, scores[name].argmax(axis=1))
        tried.append(NgramCandidate(name=name, seconds=time.perf_counter() - began, **metrics))
    chosen = max(tried, key=lambda each: each.f1_macro).name
    fitted = fit(chosen, blocks, rows.truth, len(labels), seed)
    test = pl.read_parquet(directory / dataset.splits["test"].file, glob=False)
    truth = label_numbers(test["label"], labels)
    read = first_words_of(test["text"].to_list())
    predicted = fitted.scores([each.transform(read) for each in vectorizers]).argmax(axis=1)
    majority = Counter(rows.truth[~rows.in_val].tolist()).most_common(1)[0][0]
    paths = ExperimentPaths(directory)
    names = pl.Series("prediction", [labels[number] for number in predicted], dtype=pl.String)
    paths.baseline_predictions.parent.mkdir(parents=True, exist_ok=True)
    test.select("id", "label").with_columns(names).write_parquet(paths.baseline_predictions)
    save_model(fitted, vectorizers, labels, paths.baseline_model)
    always = np.full_like(truth, majority)
    record = BaselineRecord(
        candidates=tuple(tried),
        chosen=chosen,
        majority_label=labels[majority],
        majority=score(truth, always, labels, config.evaluation, seed),
        linear=score(truth, predicted, labels, config.evaluation, seed),
        predictions_file=paths.relative(paths.baseline_predictions),
        seconds=time.perf_counter() - started,
        model_dir=paths.relative(paths.baseline_model),
    )
    return record, scores[chosen]


# The n-gram model

SVM, NAIVE_BAYES = "linear SVM", "complement naive Bayes"
MODELS = (SVM, NAIVE_BAYES)
"""The SVM is good on long texts, naive Bayes on short ones.

Complement naive Bayes is a model of counts (Rennie et al., 2003) and fails on tf-idf.
"""
# Added to each count of naive Bayes. With scikit-learn's 1.0 the sum with an encoder is worse.
SMOOTHING = 0.5


def count_ngrams(texts: list[str]) -> tuple[list[Any], list[Any]]:
    """Two fitted CountVectorizers, of words and of characters, and their counts (rows, n-grams)."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizers = [CountVectorizer(), CountVectorizer(analyzer="char_wb", ngram_range=(2, 5))]
    read = first_words_of(texts)
    return vectorizers, [each.fit_transform(read) for each in vectorizers]


def first_words_of(texts: list[str]) -> list[str]:
    """The first 128 words of each text: the models read no more."""
    return [first_words(text, WORDS_READ) for text in texts]


class Fitted(NamedTuple):
    """A fitted model: its scores are ``features @ weights.T + bias``.

    ``columns`` are the n-grams of each block that the training rows have, ``idf`` their weights in
    tf-idf, or None for counts.
    """

    name: str
    columns: list[IntArray]
    idf: list[Float32Array] | None
    weights: Float32Array
    bias: Float32Array

    def scores(self, blocks: list[Any]) -> FloatArray:
        """Scores of shape (rows, labels) from counts of the n-grams in ``blocks``."""
        features = _features(blocks, self.columns, self.idf)
        return np.asarray(features @ self.weights.astype(np.float64).T) + self.bias


def fit(name: str, blocks: list[Any], truth: LabelIds, labels: int, seed: int) -> Fitted:
    """Fit the model ``name`` of `MODELS` on counts of n-grams."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.naive_bayes import ComplementNB
    from sklearn.svm import LinearSVC

    columns = [np.flatnonzero(block.getnnz(axis=0)) for block in blocks]
    idf, classifier = None, ComplementNB(alpha=SMOOTHING)
    if len(np.unique(truth)) == 1:  # an SVM needs two labels
        bias = np.full(labels, -1.0, dtype=np.float32)
        bias[truth[0]] = 0.0
        size = sum(map(len, columns))
        return Fitted(NAIVE_BAYES, columns, None, np.zeros((labels, size), dtype=np.float32), bias)
    if name == SVM:
        present = [block[:, kept] for block, kept in zip(blocks, columns, strict=True)]
        idf = [TfidfTransformer().fit(block).idf_.astype(np.float32) for block in present]
        classifier = LinearSVC(C=0.1, class_weight="balanced", random_state=seed)
    classifier.fit(_features(blocks, columns, idf), truth)
    return Fitted(name, columns, idf, *_linear_map(classifier, labels))


def _features(
    blocks: list[Any], columns: list[IntArray], idf: list[Float32Array] | None
) -> csr_matrix:
    """Counts, or with ``idf`` sublinear tf-idf of unit length in each block."""
    from scipy.sparse import csr_matrix, diags, hstack
    from sklearn.preprocessing import normalize

    parts = []
    for number, (block, kept) in enumerate(zip(blocks, columns, strict=True)):
        part = csr_matrix(block[:, kept], dtype=np.float64)
        if idf is not None:
            part.data = 1.0 + np.log(part.data)
            part = normalize(part @ diags(idf[number].astype(np.float64)))
        parts.append(part)
    return hstack(parts, format="csr")


def _score(
    name: str, blocks: list[Any], rows: LabelledRows, seed: int, held_out: BoolArray
) -> FloatArray:
    """Scores of the rows held out, shape (rows, labels), from a model fitted on the others."""
    known = [block[~held_out] for block in blocks]
    fitted = fit(name, known, rows.truth[~held_out], len(rows.labels), seed)
    return fitted.scores([block[held_out] for block in blocks])


def save_model(
    fitted: Fitted, vectorizers: list[Any], labels: tuple[str, ...], model_dir: Path
) -> None:
    """Write the model to ``ngrams/`` in ``model_dir``, with a weight of 0 for the encoder."""
    from safetensors.numpy import save

    arrays = {"weights": fitted.weights, "bias": fitted.bias}
    arrays |= {f"idf_{number}": values for number, values in enumerate(fitted.idf or ())}
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
                "vocabulary": vectorizer.get_feature_names_out()[kept].tolist(),
            }
            for vectorizer, kept in zip(vectorizers, fitted.columns, strict=True)
        ],
    }
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    directory = model_dir / NGRAMS_DIR
    write_atomically(directory / "model.safetensors", save(arrays))
    write_atomically(directory / "model.json", orjson.dumps(settings))


def set_weights(model_dir: Path, encoder_weight: float, ngram_weight: float) -> None:
    """Write the weights of the ensemble: of the encoder's logits and of the n-gram scores."""
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    file = model_dir / NGRAMS_DIR / "model.json"
    settings = orjson.loads(file.read_bytes())
    settings |= {"encoder_weight": encoder_weight, "ngram_weight": ngram_weight}
    write_atomically(file, orjson.dumps(settings))


def _linear_map(classifier: Any, count: int) -> tuple[Float32Array, Float32Array]:
    """Weights of shape (labels, n-grams) and bias of shape (labels,) of a fitted classifier.

    A label without a training row gets the smallest of all weights and biases. As no feature is
    negative, it never scores above the other labels.
    """
    if hasattr(classifier, "coef_"):
        weights, bias = classifier.coef_, classifier.intercept_
        if len(weights) == 1:  # for two labels scikit-learn keeps the second row only
            weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    else:
        weights = classifier.feature_log_prob_
        bias = np.zeros(len(weights))
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    # In C order, which safetensors reads; scikit-learn keeps some weights in Fortran order.
    full = np.repeat(weights.min(axis=0, keepdims=True), count, axis=0)
    full_bias = np.full(count, bias.min())
    full[classifier.classes_], full_bias[classifier.classes_] = weights, bias
    return full, full_bias
