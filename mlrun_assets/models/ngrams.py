"""The n-gram models: the baseline, and the ensemble of one with an encoder."""

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
    frames = {split: pl.read_parquet(directory / dataset.splits[split].file) for split in SPLITS}
    truth = {
        split: label_numbers(frame["label"], dataset.labels) for split, frame in frames.items()
    }
    texts = {split: frame["text"].to_list() for split, frame in frames.items()}
    fitted = fit_best((texts["train"], truth["train"]), (texts["val"], truth["val"]), seed)
    predicted = fitted.predict(texts["test"])
    majority = Counter(truth["train"].tolist()).most_common(1)[0][0]
    paths = ExperimentPaths(directory)
    _write(paths.baseline_predictions, frames["test"], predicted, dataset.labels)
    save_fitted(fitted, dataset.labels, paths.baseline_model)
    return BaselineRecord(
        candidates=fitted.candidates,
        chosen=fitted.name,
        majority_label=dataset.labels[majority],
        majority=score(
            truth["test"], np.full_like(truth["test"], majority), dataset.labels, config, seed
        ),
        linear=score(truth["test"], predicted, dataset.labels, config, seed),
        predictions_file=paths.relative(paths.baseline_predictions),
        seconds=time.perf_counter() - started,
        model_dir=paths.relative(paths.baseline_model),
    )


def _write(file: Path, test: pl.DataFrame, predicted: LabelIds, labels: tuple[str, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    predictions = pl.Series("prediction", [labels[number] for number in predicted], dtype=pl.String)
    test.select("id", "label").with_columns(predictions).write_parquet(file)


# The n-gram model


@dataclass(frozen=True)
class Fitted:
    """The chosen scikit-learn pipeline of features and classifier, and the scores of all tried."""

    model: Any
    name: str
    candidates: tuple[BaselineCandidate, ...]

    def predict(self, texts: list[str]) -> LabelIds:
        """Label numbers of shape (texts,)."""
        predicted: LabelIds = self.model.predict(first_words_of(texts))
        return predicted


def fit_best(
    train: tuple[list[str], LabelIds], val: tuple[list[str], LabelIds], seed: int
) -> Fitted:
    """Fit all models on ``train`` and keep the one with the best macro-F1 on ``val``.

    The models read the first 128 words of a text.

    Args:
        train: texts and their label numbers.
        val: texts and their label numbers.
        seed: seed of the linear models.
    """
    train_texts, val_texts = first_words_of(train[0]), first_words_of(val[0])
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

    A label without a training row gets the smallest of all weights and biases. As no feature is
    negative, it never scores above the other labels.
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
        if len(weights) == 1:  # for two labels scikit-learn keeps the second row only
            weights, bias = np.vstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    else:
        weights = classifier.feature_log_prob_
        bias = np.zeros(len(weights))
        if len(classifier.classes_) == 1:
            bias = classifier.class_log_prior_
    # scikit-learn keeps some weights in Fortran order; safetensors would read them in C order.
    return weights.astype(np.float32, order="C"), bias.astype(np.float32)


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
    frames = [pl.read_parquet(file, columns=["text", "label"]) for file in splits]
    (train, train_truth), (val, truth) = (
        (frame["text"].to_list(), label_numbers(frame["label"], labels)) for frame in frames
    )
    fitted = fit_best((train, train_truth), (val, truth), seed)
    save_fitted(fitted, labels, model_dir)
    logits, scores = predictor.logits(val), NgramScorer(model_dir).scores(val)
    weights = fit_weights(logits, scores, truth)
    set_weights(model_dir, weights.encoder, weights.ngrams)
    _add_pipeline(model_dir)
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


def _add_pipeline(model_dir: Path) -> None:
    """Add the pipeline of the ensemble and its entry in the config of transformers."""
    served = Path(__file__).parent / "served"
    for name in SERVED_FILES:
        shutil.copyfile(served / name, model_dir / name)
    file = model_dir / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"custom_pipelines": PIPELINE}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


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

    Args:
        logits: of the encoder, shape (rows, labels).
        scores: of the n-gram model, shape (rows, labels).
        truth: label numbers, shape (rows,).
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
