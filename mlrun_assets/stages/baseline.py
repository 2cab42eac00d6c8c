"""Stage ``baseline_metrics``: what the commonest label and a model that trains in seconds reach."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlrun_assets.config import EvaluationConfig
from mlrun_assets.metrics import Labels, label_numbers, score, val_metrics
from mlrun_assets.records import SPLITS, BaselineCandidate, BaselineRecord, DatasetRecord
from mlrun_assets.text import first_words

PREDICTIONS_FILE = "records/baseline_predictions.parquet"
WORDS_READ = 128


def measure_baseline(
    directory: Path, dataset: DatasetRecord, config: EvaluationConfig, seed: int
) -> BaselineRecord:
    """Score the majority label and the best of three linear models on n-grams.

    The model is chosen by val macro-F1 and scored on test; it reads the first 128 words of a text.
    Its predictions of the test split go to ``records/baseline_predictions.parquet``.
    """
    started = time.perf_counter()
    frames = {split: pl.read_parquet(directory / dataset.splits[split].file) for split in SPLITS}
    truth = {
        split: label_numbers(frame["label"], dataset.labels) for split, frame in frames.items()
    }
    texts = {
        split: [first_words(text, WORDS_READ) for text in frame["text"]]
        for split, frame in frames.items()
    }
    candidates = []
    guesses = {}
    for name, model in _models(seed).items():
        fit_started = time.perf_counter()
        model.fit(texts["train"], truth["train"])
        val = val_metrics(truth["val"], model.predict(texts["val"]))
        guesses[name] = model.predict(texts["test"])
        candidates.append(
            BaselineCandidate(
                name=name,
                val_accuracy=val["accuracy"],
                val_f1_macro=val["f1_macro"],
                seconds=time.perf_counter() - fit_started,
            )
        )
    chosen = max(candidates, key=lambda candidate: candidate.val_f1_macro).name
    majority = Counter(truth["train"].tolist()).most_common(1)[0][0]
    _write(directory / PREDICTIONS_FILE, frames["test"], guesses[chosen], dataset.labels)
    return BaselineRecord(
        candidates=tuple(candidates),
        chosen=chosen,
        majority_label=dataset.labels[majority],
        majority=score(
            truth["test"], np.full_like(truth["test"], majority), dataset.labels, config, seed
        ),
        linear=score(truth["test"], guesses[chosen], dataset.labels, config, seed),
        predictions_file=PREDICTIONS_FILE,
        seconds=time.perf_counter() - started,
    )


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


def _write(file: Path, test: pl.DataFrame, guess: Labels, labels: tuple[str, ...]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    predictions = pl.Series("prediction", [labels[number] for number in guess], dtype=pl.String)
    test.select("id", "label").with_columns(predictions).write_parquet(file)
