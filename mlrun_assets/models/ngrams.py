"""The n-gram models: the baseline, and the ensemble of one with an encoder."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import EvaluationConfig
from mlrun_assets.data.text import first_words
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import write_atomically
from mlrun_assets.metrics import label_numbers, score, val_metrics
from mlrun_assets.records import (
    SPLITS,
    BaselineCandidate,
    BaselineRecord,
    DatasetRecord,
    EnsembleRecord,
)
from mlrun_assets.types import Float32Array, FloatArray, LabelIds

WORDS_READ = 128


# The baseline


def measure_baseline(
    directory: Path, dataset: DatasetRecord, config: EvaluationConfig, seed: int
) -> BaselineRecord:
    """Score the majority label and the best of three linear models on n-grams.

    The model is chosen by val macro-F1 and scored on test. Its predictions for the test split are
    written to ``records/baseline_predictions.parquet``; the model is saved to ``baseline/``, to
    predict other texts later.
    """
    started = time.perf_counter()
    frames = {
        split: pl.read_parquet(directory / dataset.splits[split].file, glob=False)
        for split in SPLITS
    }
    labels, test = dataset.labels, frames["test"]
    truth = {split: label_numbers(frame["label"], labels) for split, frame in frames.items()}
    texts = {split: frame["text"].to_list() for split, frame in frames.items()}
    fitted = fit_best((texts["train"], truth["train"]), (texts["val"], truth["val"]), seed)
    predicted: LabelIds = fitted.model.predict(first_words_of(texts["test"]))
    majority = Counter(truth["train"].tolist()).most_common(1)[0][0]
    paths = ExperimentPaths(directory)
    names = pl.Series("prediction", [labels[number] for number in predicted], dtype=pl.String)
    paths.baseline_predictions.parent.mkdir(parents=True, exist_ok=True)
    test.select("id", "label").with_columns(names).write_parquet(paths.baseline_predictions)
    save_fitted(fitted, labels, paths.baseline_model)
    always = np.full_like(truth["test"], majority)
    return BaselineRecord(
        candidates=fitted.candidates,
        chosen=fitted.name,
        majority_label=labels[majority],
        majority=score(truth["test"], always, labels, config, seed),
        linear=score(truth["test"], predicted, labels, config, seed),
        predictions_file=paths.relative(paths.baseline_predictions),
        seconds=time.perf_counter() - started,
        model_dir=paths.relative(paths.baseline_model),
    )


# The n-gram model


class Fitted(NamedTuple):
    """The chosen scikit-learn pipeline of features and classifier, and the scores of all tried."""

    model: Any
    name: str
    candidates: tuple[BaselineCandidate, ...]


def fit_best(
    train: tuple[list[str], LabelIds], val: tuple[list[str], LabelIds], seed: int
) -> Fitted:
    """Fit all models on ``train`` and keep the one with the best macro-F1 on ``val``.

    The models read the first 128 words of a text. Both splits are texts and their label numbers.
    """
    train_texts, val_texts = first_words_of(train[0]), first_words_of(val[0])
    candidates = []
    models = _models(seed)
    for name, model in models.items():
        started = time.perf_counter()
        model.fit(train_texts, train[1])
        metrics = val_metrics(val[1], model.predict(val_texts))
        scores = {f"val_{metric}": value for metric, value in metrics.items()}
        seconds = time.perf_counter() - started
        candidates.append(BaselineCandidate(name=name, seconds=seconds, **scores))
    chosen = max(candidates, key=lambda candidate: candidate.val_f1_macro).name
    return Fitted(models[chosen], chosen, tuple(candidates))


def first_words_of(texts: list[str]) -> list[str]:
    """The first 128 words of each text: the models read no more."""
    return [first_words(text, WORDS_READ) for text in texts]


def _models(seed: int) -> dict[str, Any]:
    """Three models: the first two are good on long texts, the last one on short texts.

    Complement naive Bayes is a model of counts (Rennie et al., 2003) and fails on tf-idf.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    def tfidf() -> Any:
        return make_union(
            TfidfVectorizer(sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True),
        )

    counts = make_union(CountVectorizer(), CountVectorizer(analyzer="char_wb", ngram_range=(2, 5)))
    svm = LinearSVC(C=0.1, class_weight="balanced", random_state=seed)
    regression = LogisticRegression(
        C=10.0, class_weight="balanced", max_iter=1000, random_state=seed
    )
    return {
        "linear SVM": make_pipeline(tfidf(), svm),
        "logistic regression": make_pipeline(tfidf(), regression),
        "complement naive Bayes": make_pipeline(counts, ComplementNB()),
    }


def save_fitted(fitted: Fitted, labels: tuple[str, ...], model_dir: Path) -> None:
    """Write the model to ``ngrams/`` in ``model_dir``, with a weight of 0 for the encoder."""
    from safetensors.numpy import save

    union, classifier = (step for _, step in fitted.model.steps)
    vectorizers = [vectorizer for _, vectorizer in union.transformer_list]
    weights, bias = _linear_map(classifier, len(labels))
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
        if len(classifier.classes_) == 1:
            bias = classifier.class_log_prior_
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    # In C order, which safetensors reads; scikit-learn keeps some weights in Fortran order.
    full = np.repeat(weights.min(axis=0, keepdims=True), count, axis=0)
    full_bias = np.full(count, bias.min())
    full[classifier.classes_], full_bias[classifier.classes_] = weights, bias
    return full, full_bias


# The ensemble

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
    """Fit an n-gram model and make an ensemble of it and the encoder in ``model_dir``.

    Args:
        model_dir: a trained classifier; the n-gram model and the pipeline of both are added to it.
        splits: the Parquet files of train, to fit the n-grams, and of val, to choose the n-gram
            model and the weights.
        max_length: number of tokens at which the encoder cuts a text.
        seed: seed of the linear models.
    """
    from mlrun_assets.models.predictor import Predictor
    from mlrun_assets.models.served.ngram_scorer import NgramScorer

    predictor = Predictor(model_dir, max_length)
    labels = predictor.labels
    frames = [pl.read_parquet(file, glob=False, columns=["text", "label"]) for file in splits]
    train, val = (
        (frame["text"].to_list(), label_numbers(frame["label"], labels)) for frame in frames
    )
    fitted = fit_best(train, val, seed)
    save_fitted(fitted, labels, model_dir)
    texts, truth = val
    logits, scores = predictor.logits(texts), NgramScorer(model_dir).scores(texts)
    weights = fit_weights(logits, scores, truth)
    set_weights(model_dir, *weights)
    for name in SERVED_FILES:
        shutil.copyfile(Path(__file__).parent / "served" / name, model_dir / name)
    file = model_dir / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"custom_pipelines": PIPELINE}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    combined = weights.encoder * logits + weights.ngrams * scores
    metrics = val_metrics(truth, np.argmax(combined, axis=1))
    return EnsembleRecord(
        ngram_model=fitted.name,
        encoder_weight=weights.encoder,
        ngram_weight=weights.ngrams,
        val_f1_encoder=val_metrics(truth, np.argmax(logits, axis=1))["f1_macro"],
        val_f1_ngrams=val_metrics(truth, np.argmax(scores, axis=1))["f1_macro"],
        val_f1_ensemble=metrics["f1_macro"],
        val_accuracy_ensemble=metrics["accuracy"],
    )


# Standard deviation of a normal prior on the weights, for logits and scores of deviation 1. Without
# it, the loss has its minimum at infinity if all val rows are right.
PRIOR = 10.0


class EnsembleWeights(NamedTuple):
    """Factors of the encoder's logits and of the n-gram scores."""

    encoder: float
    ngrams: float


def fit_weights(logits: FloatArray, scores: FloatArray, truth: LabelIds) -> EnsembleWeights:
    """The non-negative weights with the smallest log-loss on val.

    Their sum is also a temperature (Guo et al., 2017). The problem is convex, and a hundred rows
    are enough for two numbers.

    Logits and scores have the shape (rows, labels), the label numbers ``truth`` (rows,).
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    # Naive Bayes gives sums over n-grams, an SVM gives distances: bring both to one scale.
    scales = np.array([1.0 / max(1e-9, values.std()) for values in (logits, scores)])
    stacked = np.stack([logits * scales[0], scores * scales[1]])
    of_truth = stacked[:, np.arange(len(truth)), truth]

    def penalised(weights: FloatArray) -> tuple[float, FloatArray]:
        combined = np.tensordot(weights, stacked, axes=1)
        normaliser = logsumexp(combined, axis=1)
        share = np.exp(combined - normaliser[:, None])
        gradient = (stacked * share).sum(axis=2).mean(axis=1) - of_truth.mean(axis=1)
        penalty = weights / (PRIOR**2 * len(truth))
        loss = float((normaliser - weights @ of_truth).mean() + weights @ penalty / 2)
        return loss, gradient + penalty

    bounds, options = [(0.0, None)] * 2, {"ftol": 1e-14, "gtol": 1e-9}
    start = np.ones(2)
    found = minimize(penalised, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return EnsembleWeights(*(found.x * scales).tolist())
