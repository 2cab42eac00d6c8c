"""The linear models that are tried, and the choice among them on val."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from mlrun_assets.arrays import LabelIds
from mlrun_assets.metrics import val_metrics
from mlrun_assets.records import BaselineCandidate
from mlrun_assets.text import first_words

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
