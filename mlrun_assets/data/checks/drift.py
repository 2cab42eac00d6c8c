"""Drift: splits that differ from train, and data that differs from the previous run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlrun_assets.config import CheckName, QualityConfig
from mlrun_assets.data.checks.base import Dataset, Measured, judged
from mlrun_assets.data.text import first_words
from mlrun_assets.errors import percent
from mlrun_assets.records import QualityCheck, Severity

MOST_ROWS = 50_000
MOST_CLASSIFIED = 2_000
FEWEST_CLASSIFIED = 50
_WORDS_READ = 128
_SIGNIFICANCE = 0.01
_SEED = 42


class Shift(NamedTuple):
    """Distances between two sets of texts; each is 0 where chance alone gives as much.

    ``stability_index``: PSI of the labels. ``divergence``: Jensen-Shannon, in bits.
    ``length_distance``: Kolmogorov-Smirnov, of lengths in words. ``unseen_words``: share of the
    second set's words that the first lacks. ``auc``: of a classifier that separates them, minus two
    standard errors; None if a set is too small.
    """

    stability_index: float
    divergence: float
    length_distance: float
    unseen_words: float
    auc: float | None


def measure_shift(first: pl.DataFrame, second: pl.DataFrame) -> Shift:
    """The shift from ``first`` to ``second``, with the columns ``text`` and ``label``, not empty.

    Lengths and words are those of at most 50,000 rows of each, the classifier reads at most 2,000.
    """
    from scipy.stats import ks_2samp

    index, divergence = label_shift(first["label"], second["label"])
    texts = [_sample(frame["text"], MOST_ROWS) for frame in (first, second)]
    lengths = [each.str.count_matches(r"\S+").to_numpy() for each in texts]
    test = ks_2samp(*lengths, method="asymp")
    distance = float(test.statistic) if test.pvalue < _SIGNIFICANCE else 0.0
    known, words = (
        each.str.to_lowercase().str.extract_all(r"\w+").explode().drop_nulls() for each in texts
    )
    unseen = int((~words.is_in(known.unique().implode())).sum()) / max(1, len(words))
    return Shift(index, divergence, distance, unseen, separability(*texts))


def label_shift(first: pl.Series, second: pl.Series) -> tuple[float, float]:
    """Population stability index and Jensen-Shannon divergence (bits) of two sets of labels.

    Without a shift the index is distributed as χ² of labels - 1 degrees of freedom times
    1/rows + 1/rows (Yurdakul, 2018): below the 99 % point both are 0. Half a row is added to each
    label, so that one that is missing on a side leaves the index finite.
    """
    from scipy.stats import chi2

    names = pl.concat([first, second]).unique().sort()
    counts = [
        np.array([int((labels == name).sum()) for name in names], dtype=np.float64)
        for labels in (first, second)
    ]
    p, q = ((count + 0.5) / (count + 0.5).sum() for count in counts)
    index = float(((p - q) * np.log(p / q)).sum())
    chance = chi2.ppf(1 - _SIGNIFICANCE, max(1, len(names) - 1))
    if index <= chance * (1 / counts[0].sum() + 1 / counts[1].sum()):
        return 0.0, 0.0
    middle = (p + q) / 2
    divergence = (p * np.log2(p / middle) + q * np.log2(q / middle)).sum() / 2
    return index, float(divergence)


def separability(first: pl.Series, second: pl.Series) -> float | None:
    """Out-of-fold AUC of a linear word model that separates two sets of texts, a lower bound.

    At most 2,000 rows of each; two standard errors (Hanley and McNeil, 1982) are taken off, and
    0.5 is the least. None where a set has fewer than 50 rows.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows = min(len(first), len(second), MOST_CLASSIFIED)
    if rows < FEWEST_CLASSIFIED:
        return None
    texts = [
        first_words(text, _WORDS_READ) for one in (first, second) for text in _sample(one, rows)
    ]
    side = np.repeat([0, 1], rows)
    features: Any = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    folds = StratifiedKFold(5, shuffle=True, random_state=_SEED)
    guess = cross_val_predict(
        LogisticRegression(C=10.0), features, side, cv=folds, method="predict_proba"
    )
    auc = float(roc_auc_score(side, guess[:, 1]))
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (rows - 1) * (one + two - 2 * auc**2)
    return max(0.5, auc - 2 * float(np.sqrt(max(0.0, spread)) / rows))


def _sample(texts: pl.Series, rows: int) -> pl.Series:
    return texts if len(texts) <= rows else texts.sample(rows, seed=_SEED)


class _Problem(NamedTuple):
    """A distance beyond its threshold, in words."""

    said: str
    figures: Measured
    severity: Severity


def split_drift(dataset: Dataset) -> QualityCheck:
    """Labels, lengths and words of val and test are distributed as in train."""
    frames = {name: rows.frame for name, rows in dataset.splits.items()}
    pairs = {f"{name} against train": (frames["train"], frames[name]) for name in ("val", "test")}
    return _judge("split_drift", pairs, dataset.config.quality, "draw the splits from one source")


def drift_from_previous(dataset: Dataset) -> QualityCheck:
    """Train and test are distributed as in the previous run on data of this name."""
    previous = dataset.previous
    name: CheckName = "drift_from_previous"
    if previous is None:
        return judged(name, Measured(None, None), "no earlier run on data of this name")
    earlier = previous.experiment
    pairs = {
        f"{split} against {earlier}": (previous.frames[split], dataset.splits[split].frame)
        for split in ("train", "test")
    }
    columns = ["id", "text", "label"]
    if all(before.equals(now.select(columns)) for before, now in pairs.values()):
        limit = dataset.config.quality.drift_warns
        return judged(name, Measured(0.0, limit), f"the rows are those of {earlier}")
    advice = "give the data another data.name if the change is meant"
    return _judge(name, pairs, dataset.config.quality, advice)


def _judge(
    name: CheckName,
    pairs: dict[str, tuple[pl.DataFrame, pl.DataFrame]],
    quality: QualityConfig,
    advice: str,
) -> QualityCheck:
    """The worst shift of several pairs of frames; pairs with an empty frame are skipped."""
    measured = {
        what: measure_shift(before, now)
        for what, (before, now) in pairs.items()
        if before.height and now.height
    }
    problems = {what: _problems(shift, quality) for what, shift in measured.items()}
    sampled = any(frame.height > MOST_ROWS for pair in pairs.values() for frame in pair)
    note = f" (words and lengths of samples of {MOST_ROWS:,} rows)" if sampled else ""
    found = [problem for each in problems.values() for problem in each]
    if not found:
        worst = max((shift.stability_index for shift in measured.values()), default=None)
        said = "; ".join(
            f"{what}: PSI {shift.stability_index:.2f}, "
            f"{percent(shift.unseen_words, 0)} of the words new"
            + ("" if shift.auc is None else f", AUC {shift.auc:.2f}")
            for what, shift in measured.items()
        )
        measure = Measured(worst, quality.drift_warns)
        return judged(name, measure, (said or "a split is empty") + note)
    listed = "; ".join(
        f"{what}: {', '.join(problem.said for problem in each)}"
        for what, each in problems.items()
        if each
    )
    decides = next((each for each in found if each.severity is Severity.ERROR), found[0])
    message = f"{listed}; {advice}{note}"
    return judged(name, decides.figures, message, severity=decides.severity)


def _problems(shift: Shift, quality: QualityConfig) -> list[_Problem]:
    """The distances of a shift that are beyond their thresholds."""
    index, divergence, length, unseen, found_auc = shift
    auc, never = found_auc or 0.5, float("inf")
    labels = f"the labels differ (PSI {index:.2f}, JSD {divergence:.3f})"
    classifier = f"a classifier separates the texts (AUC {auc:.2f} or more)"
    limits = (
        (labels, index, quality.drift_warns, quality.drift_blocks),
        (classifier, auc, quality.separability_warns, quality.separability_blocks),
        (f"the lengths differ (KS {length:.2f})", length, quality.max_length_distance, never),
        (f"{percent(unseen, 0)} of the words are new", unseen, quality.max_unseen_words, never),
    )
    return [
        _Problem(said, Measured(value, blocks), Severity.ERROR)
        if value > blocks
        else _Problem(said, Measured(value, warns), Severity.WARN)
        for said, value, warns, blocks in limits
        if value > warns
    ]
