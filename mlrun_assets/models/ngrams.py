"""The linear models that are tried, and the choice among them on val."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Fitted:
    """The chosen model, a scikit-learn pipeline of features and classifier, and who was tried."""

    model: Any
    name: str
    candidates: tuple[BaselineCandidate, ...]

    def predict(self, texts: list[str]) -> LabelIds:
        """Label numbers of shape (texts,)."""
        guess: LabelIds = self.model.predict(read(texts))
        return guess


def fit_best(
    train: tuple[list[str], LabelIds], val: tuple[list[str], LabelIds], seed: int
) -> Fitted:
    """Fit every candidate on ``train`` and keep the one with the best macro-F1 on ``val``.

    The models read the first 128 words of a text.
    """
    train_texts, val_texts = read(train[0]), read(val[0])
    candidates = []
    models = _models(seed)
    for name, model in models.items():
        started = time.perf_counter()
        model.fit(train_texts, train[1])
        metrics = val_metrics(val[1], model.predict(val_texts))
        candidates.append(
            BaselineCandidate(
                name=name,
                val_accuracy=metrics["accuracy"],
                val_f1_macro=metrics["f1_macro"],
                seconds=time.perf_counter() - started,
            )
        )
    chosen = max(candidates, key=lambda candidate: candidate.val_f1_macro).name
    return Fitted(models[chosen], chosen, tuple(candidates))


def read(texts: list[str]) -> list[str]:
    """The part of each text that the models read."""
    return [first_words(text, WORDS_READ) for text in texts]


def _models(seed: int) -> dict[str, Any]:
    """Which is best depends on the data: the first two on long texts, the last on short ones.

    Complement naive Bayes is a model of counts (Rennie et al., 2003); on tf-idf it collapses.
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
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    directory = model_dir / NGRAMS_DIR
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "model.safetensors", save(arrays))
    write_atomically(directory / "model.json", orjson.dumps(settings))


def set_weights(model_dir: Path, encoder_weight: float, ngram_weight: float) -> None:
    """Write the weights of the ensemble: of the encoder's logits and of the n-gram scores."""
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

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


def measure_baseline(
    directory: Path, dataset: DatasetRecord, config: EvaluationConfig, seed: int
) -> BaselineRecord:
    """Score the majority label and the best of three linear models on n-grams.

    The model is chosen by val macro-F1 and scored on test; it reads the first 128 words of a text.
    Its predictions of the test split go to ``records/baseline_predictions.parquet``, the model
    itself to ``baseline/``, so that it can be asked about other texts.
    """
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


# Standard deviation of a normal prior on the weights, in units in which logits and scores have
# deviation 1. Where val is told apart without an error, the loss alone has its minimum at infinity.
PRIOR = 10.0


class EnsembleWeights(NamedTuple):
    """Factors of the encoder's logits and of the n-gram scores."""

    encoder: float
    ngrams: float


def fit_weights(logits: FloatArray, scores: FloatArray, truth: LabelIds) -> EnsembleWeights:
    """The weights, neither negative, that are likeliest given val: the smallest log-loss.

    The sum of both is a temperature as well (Guo et al., 2017). The problem is convex; with two
    numbers to fit, a hundred rows are enough.

    Args:
        logits: of the encoder, shape (rows, labels).
        scores: of the n-gram model, shape (rows, labels).
        truth: label numbers, shape (rows,).
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    # Complement naive Bayes gives sums over n-grams, an SVM distances: start from one scale.
    scales = np.array([1.0 / max(1e-9, values.std()) for values in (logits, scores)])
    stacked = np.stack([logits * scales[0], scores * scales[1]])
    right = stacked[:, np.arange(len(truth)), truth]

    def penalised(weights: FloatArray) -> tuple[float, FloatArray]:
        combined = np.tensordot(weights, stacked, axes=1)
        normaliser = logsumexp(combined, axis=1)
        share = np.exp(combined - normaliser[:, None])
        gradient = (stacked * share).sum(axis=2).mean(axis=1) - right.mean(axis=1)
        penalty = weights / (PRIOR**2 * len(truth))
        loss = float((normaliser - weights @ right).mean() + weights @ penalty / 2)
        return loss, gradient + penalty

    found = minimize(
        penalised,
        np.ones(2),
        jac=True,
        bounds=[(0.0, None)] * 2,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    encoder, ngrams = found.x * scales
    return EnsembleWeights(float(encoder), float(ngrams))


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
        model_dir: a trained classifier; the n-gram model and what serves both are added to it.
        splits: the Parquet files of train, to fit the n-grams on, and val, to choose the n-gram
            model and the weights of the two by.
        max_length: tokens of a text that the encoder reads.
        seed: of the linear models.
    """
    from mlrun_assets.models.predictor import Predictor
    from mlrun_assets.models.served.ngram_scorer import NgramScorer

    predictor = Predictor(model_dir, max_length)
    labels = predictor.labels
    frames = [pl.read_parquet(file, columns=["text", "label"]) for file in splits]
    (train, train_truth), (val, truth) = (
        (frame["text"].to_list(), label_numbers(frame["label"], labels)) for frame in frames
    )
    fitted = fit_best((train, train_truth), (val, truth), seed)
    save_fitted(fitted, labels, model_dir)
    logits, scores = predictor.logits(val), NgramScorer(model_dir).scores(val)
    weights = fit_weights(logits, scores, truth)
    set_weights(model_dir, weights.encoder, weights.ngrams)
    _serve(model_dir)
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


def _serve(model_dir: Path) -> None:
    """Let transformers find the pipeline of both models."""
    served = Path(__file__).parent / "served"
    for name in SERVED_FILES:
        shutil.copyfile(served / name, model_dir / name)
    file = model_dir / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"custom_pipelines": PIPELINE}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
