"""Intervals and tests: pure functions of counts and arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

import numpy as np

from mlrun_assets.records import Score
from mlrun_assets.types import BoolArray, FloatArray, IntArray, LabelIds

Average = Literal["macro", "weighted"]
POWER = 0.8
CELLS_DRAWN = 10**6  # at once, by a bootstrap: 2,000 matrices of 200 labels would take 640 MB


def confusion_matrix(truth: LabelIds, guess: LabelIds, labels: int) -> IntArray:
    """Counts of shape (labels, labels): rows are the true labels, columns the predicted ones."""
    flat = np.bincount(truth * labels + guess, minlength=labels * labels)
    return flat.reshape(labels, labels).astype(np.int64)


def f1_of_confusion(
    confusion: IntArray, average: Average, judged: BoolArray | None = None
) -> FloatArray:
    """F1 of confusion matrices of shape (..., labels, labels); the result has shape (...).

    The macro average covers only labels with rows. For resampled matrices, ``judged`` of shape
    (labels,) marks the labels with rows in the original. scikit-learn also averages in the F1 of 0
    of a label without rows once it is predicted; we leave it out.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _f1(right, confusion.sum(axis=-1), confusion.sum(axis=-2), average, judged)


def _f1(
    right: IntArray,
    support: IntArray,
    predicted: IntArray,
    average: Average,
    judged: BoolArray | None,
) -> FloatArray:
    """As `f1_of_confusion`, from its diagonal and its sums, all of shape (..., labels)."""
    union = support + predicted
    f1 = np.divide(2.0 * right, union, out=np.zeros(right.shape), where=union > 0)
    if average == "weighted":
        weights: IntArray | BoolArray = support
    else:
        weights = (support if judged is None else union * judged) > 0
    return np.asarray((f1 * weights).sum(axis=-1) / weights.sum(axis=-1))


def bootstrap_f1(
    confusion: IntArray, average: Average, resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile interval of the F1, from a bootstrap of the rows.

    Drawing rows with replacement draws the confusion matrix from a multinomial distribution, so no
    row is ever copied (Efron and Tibshirani, 1993, chapter 13). How many rows a label has is drawn
    too: an F1 depends on it, and an interval that takes the counts for given is too narrow.
    Percentiles of few rows are too narrow as well: these are expanded to what Student's t would
    take (Hesterberg, The American Statistician 69, 2015, 371-386).

    A bootstrap can't draw errors that are not in the sample: 30 correct rows give an interval of
    width 0. It therefore draws from the rows and one more that is right and one that is wrong, as
    Agresti and Coull (1998) add two of each to a proportion (docs/decisions/014).
    """
    generator = np.random.default_rng(seed)
    support = confusion.sum(axis=1)
    extra = _unseen_row(support, average)[:, None]
    rows = confusion + extra * np.eye(len(support)) + extra * _mistakes(support)
    chances, together = (rows / rows.sum()).ravel(), max(1, CELLS_DRAWN // rows.size)
    values = []
    for done in range(0, resamples, together):
        size = min(together, resamples - done)
        drawn = generator.multinomial(support.sum(), chances, size=size)
        values.append(f1_of_confusion(drawn.reshape(-1, *rows.shape), average, support > 0))
    return percentile_interval(np.concatenate(values), _expanded(confidence, support, average))


def _unseen_row(support: IntArray, average: Average) -> FloatArray:
    """Pseudo-counts per label for rows that could have been drawn and were not.

    The labels whose rows move the F1 most have the largest.
    """
    rows = support**2 if average == "macro" else 1
    parts = np.divide(1.0, rows, out=np.zeros(len(support)), where=support > 0)
    return np.asarray(parts / parts.sum())


def _mistakes(support: IntArray) -> FloatArray:
    """Prior distribution of mistakes over labels, before any was seen: shape (labels, labels).

    Rows are the true labels. All labels that have rows themselves are as likely; where there is
    none, all others.
    """
    others = ~np.eye(len(support), dtype=bool)
    among = others & (support > 0)
    chances = np.where(among.any(axis=1, keepdims=True), among, others)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _expanded(confidence: float, support: IntArray, average: Average) -> float:
    """The confidence whose normal interval is as wide as that of Student's t at ``confidence``.

    The degrees of freedom are Welch's for a mean of one rate a label, whose variance is that of a
    single row over the label's rows.
    """
    from scipy.stats import norm, t

    rows = support[support > 1].astype(np.float64)
    if not len(rows):
        return confidence
    variance = 1.0 / rows if average == "macro" else rows
    freedom = variance.sum() ** 2 / (variance**2 / (rows - 1)).sum()
    reach = t.ppf((1 + confidence) / 2, freedom) * math.sqrt(1 + 1 / freedom)
    return float(1 - 2 * norm.sf(reach))


def paired_f1_difference(
    truth: LabelIds,
    guesses: tuple[LabelIds, LabelIds],
    average: Average,
    bootstrap: tuple[int, float, int],
) -> Score:
    """The difference of the F1 of two models on the same rows, with a paired bootstrap interval.

    Args:
        truth: true labels, shape (rows,).
        guesses: predictions of the first and the second model, both of shape (rows,).
        average: which F1.
        bootstrap: resamples, confidence and seed. Rows are drawn within their true label, and each
            with both its predictions (Koehn, 2004).

    A bootstrap can't draw a disagreement that is not in the sample: two models that agree on 100
    rows get an interval of width 0. It therefore draws from the rows and one more that
    only the first model gets right, and one that only the second does, as Bonett and Price (2012)
    add to the paired difference of proportions (docs/decisions/014 has what that changes).
    """
    resamples, confidence, seed = bootstrap
    labels = max(2, int(max(truth.max(), guesses[0].max(), guesses[1].max())) + 1)
    generator = np.random.default_rng(seed)
    pairs = guesses[0] * labels + guesses[1]
    support = np.bincount(truth, minlength=labels)
    right, predicted = np.zeros((2, 2, resamples, labels), dtype=np.int64)
    extra = _unseen_row(support, average)[:, None] * _mistakes(support)
    for label in np.flatnonzero(support):
        rows = np.bincount(pairs[truth == label], minlength=labels**2).reshape(labels, labels)
        rows = rows.astype(np.float64)
        rows[label] += extra[label]
        rows[:, label] += extra[label]
        cells = np.nonzero(rows)
        sample = generator.multinomial(support[label], rows[cells] / rows.sum(), size=resamples)
        for side in range(2):
            order = np.argsort(cells[side], kind="stable")
            found, starts = np.unique(cells[side][order], return_index=True)
            counts = np.add.reduceat(sample[:, order], starts, axis=1)
            predicted[side][:, found] += counts
            right[side, :, label] = counts[:, found == label].sum(axis=1)
    first, second = (
        float(f1_of_confusion(confusion_matrix(truth, guess, labels), average)) for guess in guesses
    )
    rows_drawn = np.broadcast_to(support, right.shape)
    ours, theirs = _f1(right, rows_drawn, predicted, average, support > 0)
    low, high = percentile_interval(ours - theirs, confidence)
    return Score(value=first - second, low=low, high=high)


def percentile_interval(values: FloatArray, confidence: float) -> tuple[float, float]:
    """The central interval that contains ``confidence`` of ``values``."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def wilson_interval(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test on the discordant rows."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def formatted_p(p: float) -> str:
    """``= 0.043``, or ``< 0.001``, to follow a p."""
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def paired_proportion_difference(outcomes: tuple[int, int, int, int], confidence: float) -> Score:
    """The difference of two proportions on the same rows, first model minus second.

    Args:
        outcomes: rows that both, only the first, only the second and neither model gets right.
        confidence: of the interval.

    The interval is Newcombe's tenth (Statistics in Medicine 17, 1998, 2635-2650): the two models'
    score intervals, joined by their correlation. Unlike a bootstrap's it has a width where the
    models agree on every row, and it never leaves -1 to 1.
    """
    both, first, second, neither = outcomes
    rows = sum(outcomes)
    bounds = [wilson_interval(both + each, rows, confidence) for each in (first, second)]
    values = [(both + each) / rows for each in (first, second)]
    below = [value - low for value, (low, _) in zip(values, bounds, strict=True)]
    above = [high - value for value, (_, high) in zip(values, bounds, strict=True)]
    # Phi, corrected for continuity.
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(0.0, excess - rows / 2)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    correlation = excess / math.sqrt(margins) if margins else 0.0

    def width(one: float, other: float) -> float:
        return math.sqrt(one**2 - 2 * correlation * one * other + other**2)

    difference = values[0] - values[1]
    low, high = width(below[0], above[1]), width(above[0], below[1])
    return Score(value=difference, low=difference - low, high=difference + high)


def mcnemar_power(rows: int, difference: float, discordance: float) -> float:
    """Power of McNemar's exact two-sided test at the level of 0.05, by enumeration.

    Args:
        rows: rows that both models are judged on.
        difference: accuracy of the better model less that of the other.
        discordance: share of rows that just one of the two gets right; at least ``difference``.

    The discordant rows are binomial, and of those the ones that the better model gets right are
    binomial again (Connor, 1987); counts further than nine standard deviations away are left out.
    """
    from scipy.stats import binom

    spread = 9 * np.sqrt(rows * discordance * (1 - discordance)) + 9
    middle = rows * discordance
    low, high = max(0, int(middle - spread)), min(rows, int(middle + spread))
    discordant = np.arange(low, high + 1)
    # The largest count that is rejected on the lower side; by symmetry also on the upper one.
    limit = binom.ppf(0.05 / 2, discordant, 0.5)
    limit -= binom.cdf(limit, discordant, 0.5) > 0.05 / 2
    better = (1 + difference / discordance) / 2
    rejected = binom.cdf(limit, discordant, better) + binom.cdf(limit, discordant, 1 - better)
    return float((binom.pmf(discordant, rows, discordance) * rejected).sum())


def smallest_difference(rows: int, discordance: float) -> float | None:
    """The smallest difference of accuracy that McNemar's exact test finds with `POWER`.

    To one part in a thousand of a point. A difference larger than ``discordance`` needs that many
    discordant rows itself. None: these rows can show no difference at all.
    """
    if mcnemar_power(rows, 1.0, 1.0) < POWER:
        return None

    def shown(steps: int) -> bool:
        difference = steps / 2**17
        return mcnemar_power(rows, difference, max(difference, discordance)) >= POWER

    return _first(shown, 0, 2**17) / 2**17


def rows_to_show(difference: float, discordance: float) -> int:
    """How many rows McNemar's exact test needs to find ``difference`` with `POWER`.

    The exact power has a fine saw-tooth in the rows; the answer is right within a tooth.
    """

    def shown(rows: int) -> bool:
        return mcnemar_power(rows, difference, max(difference, discordance)) >= POWER

    high = 8
    while not shown(high):
        high *= 2
    return _first(shown, high // 2, high)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number for which ``holds``, as it does for ``high`` and not for ``low``."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def rows_to_settle(rows: int, difference: Score, limit: float, confidence: float) -> int | None:
    """The number of rows that settle on which side of ``limit`` a difference is, with `POWER`.

    Args:
        rows: rows that the difference was measured on.
        difference: with its two-sided interval.
        limit: what the difference is held against.
        confidence: of the interval.

    The width of an interval falls with the root of the rows, so this holds for any F1 and any
    balance of the labels, if the difference is what was measured; for differences of accuracy it is
    close to `rows_to_show`. None: more than a hundred times the rows would be needed.
    """
    distance = abs(difference.value - limit)
    bound = difference.low if difference.value > limit else difference.high
    tail, power = map(NormalDist().inv_cdf, ((1 + confidence) / 2, POWER))
    reach = abs(difference.value - bound) * (tail + power) / tail
    if distance <= reach / 10:
        return None
    return max(rows, math.ceil(rows * (reach / distance) ** 2))


def scarce_label(label_rows: IntArray) -> int | None:
    """The label with more than half of the variance of a macro average; None: there is none.

    More rows of all labels in their shares tell little then: those of this one are wanted.
    """
    shares = np.divide(1.0, label_rows, out=np.zeros(len(label_rows)), where=label_rows > 0)
    most = int(shares.argmax())
    return most if shares[most] > shares.sum() / 2 else None


ACCEPT_CONFIDENCES = np.arange(99, 0, -1) / 100
ACCEPT_ERROR = 0.05
# A wrong label among the most confident rows would end a single sequence that starts with these.
ACCEPT_STARTS = (1, 3)
# At most this many times the rows at hand are thought of.
_MOST_TIMES = 100


def accept_threshold(
    confidences: FloatArray, right: BoolArray, min_precision: float
) -> float | None:
    """The lowest confidence at or above which ``min_precision`` of the labels are shown right.

    Args:
        confidences: of the predicted labels, for rows that the model was not trained on.
        right: whether these labels are the true ones, shape (rows,).
        min_precision: below 1.

    `ACCEPT_CONFIDENCES` are tested from high to low by the exact binomial test, until one is not
    shown (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021). One sequence
    starts as soon as there are enough rows, one with three times as many. So the precision on new
    rows is below ``min_precision`` for at most `ACCEPT_ERROR` of the samples, although the
    threshold is chosen among many. None: none is shown.
    """
    return _lowest_shown(*_accepted(confidences, right), min_precision)


def rows_to_accept(confidences: FloatArray, right: BoolArray, min_precision: float) -> int | None:
    """About how many rows show some threshold, if their precision stays what it is.

    None: more than a hundred times the rows would be needed.
    """
    rows, correct = _accepted(confidences, right)
    for step in range(100):
        times = math.pow(_MOST_TIMES, step / 99)
        if _lowest_shown(np.floor(times * rows), np.floor(times * correct), min_precision):
            return math.ceil(times * len(right))
    return None


def _accepted(confidences: FloatArray, right: BoolArray) -> tuple[FloatArray, FloatArray]:
    """The rows with at least each of `ACCEPT_CONFIDENCES`, and those that are right of them."""
    accepted = confidences >= ACCEPT_CONFIDENCES[:, None]
    return accepted.sum(axis=1).astype(float), (accepted & right).sum(axis=1).astype(float)


def _lowest_shown(rows: FloatArray, correct: FloatArray, min_precision: float) -> float | None:
    from scipy.stats import binom

    error = ACCEPT_ERROR / len(ACCEPT_STARTS)
    shown = binom.sf(correct - 1, rows, min_precision) <= error
    fewest = math.log(error) / math.log(min_precision)  # rows that show it, if all are right
    lowest = []
    for times in ACCEPT_STARTS:
        tested = rows >= times * fewest
        kept = np.flatnonzero(tested & (np.cumsum(tested & ~shown) == 0))
        lowest += ACCEPT_CONFIDENCES[kept[-1:]].tolist()
    return min(lowest, default=None)


def rows_behind_macro_average(label_rows: IntArray) -> float:
    """The number of balanced rows that are worth as much as ``label_rows`` for a macro average.

    A mean of one rate a label has the variance of its labels' rows apart, so rare labels weigh:
    labels² / Σ 1/rows, which is all rows where the labels are balanced.
    """
    present = label_rows[label_rows > 0]
    return float(len(present) ** 2 / (1.0 / present).sum()) if len(present) else 0.0
