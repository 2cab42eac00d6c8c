"""Intervals and tests: pure functions of counts and arrays."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Average = Literal["macro", "weighted"]


def confusion_matrix(truth: Counts, guess: Counts, labels: int) -> Counts:
    """Counts of shape (labels, labels): rows are the true labels, columns the predicted ones."""
    flat = np.bincount(truth * labels + guess, minlength=labels * labels)
    return flat.reshape(labels, labels).astype(np.int64)


def f1_of_confusion(confusion: Counts, average: Average) -> Floats:
    """F1 of confusion matrices of shape (..., labels, labels); the result has shape (...).

    A label that neither occurs nor is predicted is left out of the macro average, as scikit-learn
    does; one that is never right counts as 0.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    support = confusion.sum(axis=-1)
    union = support + confusion.sum(axis=-2)
    f1 = np.divide(2.0 * right, union, out=np.zeros(right.shape), where=union > 0)
    weights = (union > 0) if average == "macro" else support
    return np.asarray((f1 * weights).sum(axis=-1) / weights.sum(axis=-1))


def bootstrap_f1(
    confusion: Counts, average: Average, resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile interval of the F1, from a bootstrap stratified by the true label.

    Drawing the rows of one label with replacement draws its row of the confusion matrix from a
    multinomial distribution, so no row is ever copied (Efron and Tibshirani, 1993, chapter 13).
    """
    generator = np.random.default_rng(seed)
    drawn = np.stack([_resample(row, resamples, generator) for row in confusion], axis=1)
    return percentile_interval(f1_of_confusion(drawn, average), confidence)


class PairedDifference(NamedTuple):
    """A difference of F1, first model less second, with its interval."""

    value: float
    low: float
    high: float


def paired_f1_difference(
    truth: Counts,
    guesses: tuple[Counts, Counts],
    average: Average,
    bootstrap: tuple[int, float, int],
) -> PairedDifference:
    """The difference of the F1 of two models on the same rows, with a paired bootstrap interval.

    Args:
        truth: true labels, shape (rows,).
        guesses: what the first and the second model say, both of shape (rows,).
        average: which F1.
        bootstrap: resamples, confidence and seed. Rows are drawn within their true label, and each
            with both its predictions (Koehn, 2004).
    """
    resamples, confidence, seed = bootstrap
    labels = int(max(truth.max(), guesses[0].max(), guesses[1].max())) + 1
    generator = np.random.default_rng(seed)
    drawn = [np.zeros((resamples, labels, labels), dtype=np.int64) for _ in guesses]
    for label in np.unique(truth):
        rows = truth == label
        pairs, counts = np.unique(
            np.stack([guess[rows] for guess in guesses]), axis=1, return_counts=True
        )
        sample = _resample(counts, resamples, generator)
        for side, confusion in enumerate(drawn):
            for cell, predicted in enumerate(pairs[side]):
                confusion[:, label, predicted] += sample[:, cell]
    observed = [
        float(f1_of_confusion(confusion_matrix(truth, guess, labels), average)) for guess in guesses
    ]
    differences = f1_of_confusion(drawn[0], average) - f1_of_confusion(drawn[1], average)
    return PairedDifference(
        observed[0] - observed[1], *percentile_interval(differences, confidence)
    )


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float]:
    """The central interval that holds ``confidence`` of ``values``."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, 1927); (0, 1) for no trials."""
    from scipy.stats import binomtest

    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test: rows that just one of two models gets right."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def paired_proportion_difference(
    outcomes: tuple[int, int, int, int], confidence: float
) -> PairedDifference:
    """The difference of two proportions on the same rows: the first model less the second.

    Args:
        outcomes: rows that both, only the first, only the second and neither model gets right.
        confidence: of the interval.

    The interval is Newcombe's tenth (Statistics in Medicine 17, 1998, 2635-2650): the two models'
    score intervals, joined by their correlation. Unlike a bootstrap's it has a width where the
    models agree on every row, and it never leaves -1 to 1.
    """
    both, first, second, _ = outcomes
    rows = sum(outcomes)
    if rows == 0:
        return PairedDifference(0.0, -1.0, 1.0)
    bounds = [wilson_interval(both + each, rows, confidence) for each in (first, second)]
    values = [(both + each) / rows for each in (first, second)]
    below = [value - low for value, (low, _) in zip(values, bounds, strict=True)]
    above = [high - value for value, (_, high) in zip(values, bounds, strict=True)]
    correlation = _continuity_corrected_phi(outcomes)
    difference = values[0] - values[1]

    def width(one: float, other: float) -> float:
        return math.sqrt(one**2 - 2 * correlation * one * other + other**2)

    return PairedDifference(
        difference,
        difference - width(below[0], above[1]),
        difference + width(above[0], below[1]),
    )


def _continuity_corrected_phi(outcomes: tuple[int, int, int, int]) -> float:
    both, first, second, neither = outcomes
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(0.0, excess - sum(outcomes) / 2)
    return excess / math.sqrt(margins)


def mcnemar_power(rows: int, difference: float, discordance: float, alpha: float = 0.05) -> float:
    """Power of McNemar's exact two-sided test, by enumeration.

    Args:
        rows: rows that both models are judged on.
        difference: accuracy of the better model less that of the other.
        discordance: share of rows that just one of the two gets right; at least ``difference``.
        alpha: level of the test.

    The discordant rows are binomial, and of those the ones that the better model gets right are
    binomial again (Connor, 1987); counts further than nine standard deviations away are left out.
    """
    from scipy.stats import binom

    spread = 9 * np.sqrt(rows * discordance * (1 - discordance)) + 9
    middle = rows * discordance
    low, high = max(0, int(middle - spread)), min(rows, int(middle + spread))
    discordant = np.arange(low, high + 1)
    # The largest count that is rejected on the lower side; by symmetry also on the upper one.
    limit = binom.ppf(alpha / 2, discordant, 0.5)
    limit -= binom.cdf(limit, discordant, 0.5) > alpha / 2
    better = (1 + difference / discordance) / 2
    rejected = binom.cdf(limit, discordant, better) + binom.cdf(limit, discordant, 1 - better)
    return float((binom.pmf(discordant, rows, discordance) * rejected).sum())


def smallest_difference(rows: int, discordance: float, power: float = 0.8) -> float | None:
    """The smallest difference of accuracy that McNemar's exact test finds with ``power``.

    To one part in a thousand of a point. A difference larger than ``discordance`` needs that many
    discordant rows itself. None: these rows can show no difference at all.
    """
    low, high = 0.0, 1.0
    if mcnemar_power(rows, 1.0, 1.0) < power:
        return None
    while high - low > 1e-5:
        middle = (low + high) / 2
        if mcnemar_power(rows, middle, max(middle, discordance)) >= power:
            high = middle
        else:
            low = middle
    return high


def rows_to_show(difference: float, discordance: float, power: float = 0.8) -> int:
    """How many rows McNemar's exact test needs to find ``difference`` with ``power``.

    The exact power has a fine saw-tooth in the rows; the answer is right within a tooth.
    """
    discordance = max(difference, discordance)
    high = 8
    while mcnemar_power(high, difference, discordance) < power:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if mcnemar_power(middle, difference, discordance) >= power:
            high = middle
        else:
            low = middle
    return high


def rows_behind_macro_average(label_rows: Counts) -> float:
    """How many balanced rows tell as much of a macro average as ``label_rows`` do.

    A mean of one rate a label has the variance of its labels' rows apart, so rare labels weigh:
    labels² / Σ 1/rows, which is all rows where the labels are balanced.
    """
    present = label_rows[label_rows > 0]
    return float(len(present) ** 2 / (1.0 / present).sum()) if len(present) else 0.0


def _resample(counts: Counts, resamples: int, generator: np.random.Generator) -> Counts:
    """Bootstrap draws of category counts, shape (resamples, categories)."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros((resamples, len(counts)), dtype=np.int64)
    return generator.multinomial(total, counts / total, size=resamples)
