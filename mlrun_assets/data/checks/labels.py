"""Checks of labels: rows whose label is probably wrong; the difference that test can show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from mlrun_assets.data.checks.base import CheckResult, Dataset, Measured, judged
from mlrun_assets.data.text import first_words
from mlrun_assets.errors import count, percent
from mlrun_assets.records import QualityCheck
from mlrun_assets.statistics import rows_behind_macro_average, rows_to_show, smallest_difference

FEATURES = 1 << 18
_LENGTHS = (2, 3, 4)
_CHUNK_ROWS = 5_000
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SPACE = ord(" ")


def character_ngrams(texts: pl.Series) -> Any:
    """TF-IDF of n-grams of 2 to 4 characters within words: sparse, of shape (rows, n-grams).

    The features of scikit-learn's ``char_wb`` analyzer (a space marks the ends of a word), hashed;
    those of two texts or more count, or all where there is none such.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfTransformer

    parts = [
        _counts(texts.slice(start, _CHUNK_ROWS)) for start in range(0, len(texts), _CHUNK_ROWS)
    ]
    counts = vstack(parts, format="csr")
    # An n-gram of one text says nothing about other texts, and costs a weight per label.
    texts_with = np.bincount(counts.indices, minlength=FEATURES)
    common = texts_with >= min(2, texts_with.max())
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, np.flatnonzero(common)])


def _counts(texts: pl.Series) -> Any:
    from scipy.sparse import csr_matrix

    padded = " " + texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars() + " "
    characters = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    row = np.repeat(np.arange(len(texts)), padded.str.len_chars().to_numpy())
    space = characters == _SPACE
    rows, columns = [], []
    for length in _LENGTHS:
        places = max(0, len(characters) - length + 1)
        hashes = np.full(places, length, dtype=np.uint64)
        inside = row[:places] == row[length - 1 :]
        for place in range(length):
            hashes = (hashes ^ characters[place : place + places]) * _ODD
            if 0 < place < length - 1:
                inside &= ~space[place : place + places]
        inside &= ~(space[:places] & space[length - 1 :])
        rows.append(row[:places][inside])
        columns.append((hashes[inside] >> np.uint64(40)) % np.uint64(FEATURES))
    where = (np.concatenate(rows), np.concatenate(columns).astype(np.int64))
    ones = np.ones(len(where[0]), dtype=np.float32)
    return csr_matrix((ones, where), shape=(len(texts), FEATURES))


MOST_ROWS = 50_000
# Labels times n-grams or rows. 1 GB and two minutes, measured at 250 labels and 91,000 n-grams.
MOST_WEIGHTS = 20_000_000
_FOLDS = 5
_WORDS_READ = 128
_SEED = 42


def label_noise(dataset: Dataset) -> CheckResult:
    """Few labels contradict the prediction of a model that was trained on the other rows.

    Confident learning (Northcutt et al., 2021) on out-of-fold probabilities of a linear n-gram
    model. The suspects, the likeliest first, and all rows with equal texts and unequal labels go
    to the review file; none is dropped.
    """
    every = _every(dataset)
    review = _conflicts(_every(dataset.with_set_aside()), dataset.show_text)
    sample = _sample(every)
    limit = dataset.config.quality.max_suspected_fraction
    folds = min([_FOLDS, *sample["label"].value_counts()["count"]])
    if folds < 2 or sample["label"].n_unique() < 2:
        message = "not measured: two labels with two rows each are needed"
        check = judged("label_noise", Measured(None, limit), message)
        return CheckResult(check, review=tuple(review))
    labels, features = sample["label"].n_unique(), _features(sample)
    if max(features.shape) * labels > MOST_WEIGHTS:
        size = f"{labels:,} labels x {max(features.shape):,} n-grams or rows"
        message = f"not measured: {size} need too much memory; at most {MOST_WEIGHTS:,} weights"
        return CheckResult(
            judged("label_noise", Measured(None, limit), message), review=tuple(review)
        )
    suspects, accuracy = _suspects(sample, features, folds)
    review += _rows(suspects, "suspected by the n-gram model", dataset.show_text)
    share = suspects.height / sample.height
    of = count(sample.height, "sampled row" if sample.height < every.height else "row")
    said = (
        f"an n-gram model doubts the label of {suspects.height} of {of} ({percent(share)}), and "
        f"agrees with {percent(accuracy, 0)} of the labels"
    )
    wrong = (
        f"{said}; a run or `check-data --output DIR` lists the doubted labels in "
        "data/review_labels.jsonl, the most likely errors first"
    )
    check = judged("label_noise", Measured(share, limit, suspects.height), said, wrong)
    return CheckResult(check, review=tuple(review))


def _every(dataset: Dataset) -> pl.DataFrame:
    columns = ["id", "text", "label", "key"]
    return pl.concat(
        rows.frame.select(columns).with_columns(split=pl.lit(name))
        for name, rows in dataset.splits.items()
    )


def _sample(every: pl.DataFrame) -> pl.DataFrame:
    """At most `MOST_ROWS` rows of the labels with rows for two folds, one row per text."""
    frequent = every.unique("key", keep="first", maintain_order=True).filter(
        pl.len().over("label") > 1
    )
    if frequent.height <= MOST_ROWS:
        return frequent
    return frequent.sample(MOST_ROWS, seed=_SEED).filter(pl.len().over("label") > 1)


def _features(sample: pl.DataFrame) -> Any:
    texts = [first_words(text, _WORDS_READ) for text in sample["text"]]
    return character_ngrams(pl.Series(texts, dtype=pl.String))


def _suspects(sample: pl.DataFrame, features: Any, folds: int) -> tuple[pl.DataFrame, float]:
    """The suspected rows, the most likely errors first, and how often model and label agree.

    Each row is judged by a model that did not see it. ``suggested`` is the model's label,
    ``margin`` its probability less that of the given one.
    """
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    names = sample["label"].unique().sort()
    truth = np.searchsorted(names.to_numpy(), sample["label"].to_numpy())
    model = LogisticRegression(C=2.0, class_weight="balanced", max_iter=200)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=_SEED)
    probabilities = cross_val_predict(model, features, truth, cv=splitter, method="predict_proba")
    ranked = find_label_issues(
        truth, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    best = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(truth)), truth]
    suspects = sample.with_columns(
        suggested=names.gather(best), margin=pl.Series(probabilities.max(axis=1) - own)
    )[ranked.tolist()].filter(pl.col("suggested") != pl.col("label"))
    return suspects, float((best == truth).mean())


def _conflicts(every: pl.DataFrame, show_text: bool) -> list[dict[str, object]]:
    """Rows whose text has another label elsewhere, each with one such place."""
    disputed = every.filter(pl.col("label").n_unique().over("key") > 1)
    other = disputed.select("key", suggested="label", other_id="id", other_split="split")
    pairs = disputed.join(other, on="key", maintain_order="left_right").filter(
        pl.col("label") != pl.col("suggested")
    )
    firsts = pairs.unique(["split", "id"], keep="first", maintain_order=True)
    return _rows(firsts.with_columns(margin=None), "equal text, unequal labels", show_text)


def _rows(frame: pl.DataFrame, why: str, show_text: bool) -> list[dict[str, object]]:
    columns = ["id", "split", "label", "suggested", "margin", "other_id", "other_split"]
    kept = [name for name in (*columns, *(["text"] if show_text else [])) if name in frame.columns]
    return [{**row, "why": why} for row in frame.select(kept).iter_rows(named=True)]


def test_power(dataset: Dataset) -> QualityCheck:
    """The test split can show a relevant difference, by McNemar's exact test at 80 % power.

    Differences are given in half points, rounded up. For macro-F1 the effective number of rows is
    used: the size of a balanced split with the same power.
    """
    quality = dataset.config.quality
    labels = dataset.splits["test"].frame["label"]
    accuracy = smallest_difference(len(labels), quality.test_discordance)
    counts = labels.value_counts()["count"].to_numpy().astype(np.int64)
    balanced = int(round(rows_behind_macro_average(counts), 6))
    f1 = smallest_difference(balanced, quality.test_discordance)
    points, f1_points = _points(accuracy), _points(f1)
    both = points if points == f1_points else f"{points} of accuracy and {f1_points} of macro-F1"
    shown = "no difference at all" if accuracy is None else f"differences of {both} or more"
    said = f"this test split of {count(len(labels), 'row')} can show {shown}"
    limit, wanted = quality.max_detectable_difference, quality.wanted_detectable_difference
    # Without a difference that the rows can show, 1.0: none between two scores is larger.
    worst = 1.0 if accuracy is None or f1 is None else max(accuracy, f1)
    measured = Measured(worst, limit)
    if worst <= limit:
        return judged("test_power", measured, said)
    share = max(1.0, len(labels) / max(1, balanced))
    more = rows_to_show(wanted, quality.test_discordance) * share - len(labels)
    if more > 0:
        about = f"about {100 * math.ceil(round(more) / 100):,} more test rows"
        said += f"; to show {_points(wanted)}, label {about}"
    return judged("test_power", measured, said)


def _points(difference: float | None) -> str:
    if difference is None:
        return "no points"
    return f"{math.ceil(round(difference * 200, 2)) / 2:g} points"
