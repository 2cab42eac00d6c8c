"""Simulate the gate: how often it promotes a worse model and refuses a better one.

    python benchmarks/gate.py [--trials 400] [--sizes 100 204 294 500 1000 2000 5000]

Production has a true accuracy of 0.75 to 0.90. The challenger's true macro-F1 is lower or higher by
the margin. Test rows are drawn with the predictions of both models, and three gates decide: the
rule of the product, a plain threshold, and "at least as good as production". The same table has the
coverage of the intervals. The second table is about the guard: seven labels with equal rows, and
models that differ in the recall of one label only. The third table has the coverage of the
macro-F1 interval for models with an accuracy of 0.90 to 0.99.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from itertools import product
from typing import NamedTuple

import numpy as np

from mlrun_assets.config import DeploymentConfig, EvaluationConfig
from mlrun_assets.decision.rules import grade_losses, judge_difference
from mlrun_assets.evaluation.comparison import joint_confidence
from mlrun_assets.records import RuleOutcome, SliceComparison
from mlrun_assets.statistics import (
    bootstrap_f1,
    confusion_matrix,
    f1_of_confusion,
    paired_f1_difference,
    paired_proportion_difference,
    wilson_interval,
)
from mlrun_assets.types import FloatArray, LabelIds

SIZES = (100, 204, 294, 500, 1000, 2000, 5000)
ACCURACIES = (0.75, 0.80, 0.85, 0.90)
HIGH_ACCURACIES = (0.90, 0.95, 0.97, 0.98, 0.99)
FEW_ROWS = (60, 100, 204, 294, 1000)
DISCORDANCES = (0.03, 0.10)
LABELS = {
    "balanced": np.full(3, 1 / 3),
    "skewed": np.array([0.70, 0.20, 0.10]),
}
DEPLOYMENT = DeploymentConfig()
EVALUATION = EvaluationConfig()
GUARDED = 7


class World(NamedTuple):
    """The true distribution of labels and of the predictions of both models.

    ``chances`` has the shape (labels, labels, labels): true label, challenger, production.
    """

    chances: FloatArray
    f1: float
    accuracy: float
    difference: float


def world(shares: FloatArray, accuracy: float, discordance: float, gain: FloatArray) -> World:
    """A world whose models differ in recall by ``gain``, shape (labels,); errors are uniform."""
    labels = len(shares)
    chances = np.zeros((labels, labels, labels))
    for label in range(labels):
        apart = max(discordance, abs(gain[label]))
        ours, theirs = (apart + gain[label]) / 2, (apart - gain[label]) / 2
        others = np.arange(labels) != label
        chances[label, label, label] = accuracy - theirs
        chances[label, label, others] = ours / (labels - 1)
        chances[label, others, label] = theirs / (labels - 1)
        chances[label, others, others] = max(0.0, 1 - accuracy - ours) / (labels - 1)
    chances *= shares[:, None, None]
    confusions = chances.sum(axis=2), chances.sum(axis=1)
    ours, theirs = (float(f1_of_confusion(each, "macro")) for each in confusions)
    return World(chances, ours, float(np.trace(confusions[0])), ours - theirs)


def world_with(setting: Setting, accuracy: float) -> World:
    """The world of ``setting`` where production has ``accuracy`` in each label."""
    shares = LABELS[setting.labels]
    where = shares == shares.min() if setting.rarest else shares > 0
    low, high = -accuracy, 1 - accuracy
    for _ in range(40):
        middle = (low + high) / 2
        found = world(shares, accuracy, setting.discordance, middle * where)
        low, high = (middle, high) if found.difference < setting.difference else (low, middle)
    return world(shares, accuracy, setting.discordance, high * where)


class Setting(NamedTuple):
    """The worlds that are averaged over the accuracies of production."""

    labels: str
    discordance: float
    difference: float
    rarest: bool

    def __str__(self) -> str:
        where = "the rarest label" if self.rarest else "all labels"
        return f"{self.labels}, {self.discordance:.0%}, {where}"


def settings() -> list[Setting]:
    margin = DEPLOYMENT.margin
    few, many = DISCORDANCES
    return [
        *(Setting(labels, apart, -margin, False) for labels in LABELS for apart in (few, many)),
        Setting("skewed", many, -margin, True),
        *(Setting(labels, many, margin, False) for labels in LABELS),
    ]


def worlds(setting: Setting) -> list[World]:
    return [world_with(setting, accuracy) for accuracy in ACCURACIES]


class Drawn(NamedTuple):
    """Draw a test split: the true labels and the predictions of challenger and production."""

    truth: LabelIds
    ours: LabelIds
    theirs: LabelIds


def draw(truth: World, rows: int, generator: np.random.Generator) -> Drawn:
    shape = truth.chances.shape
    counts = generator.multinomial(rows, truth.chances.ravel() / truth.chances.sum())
    return Drawn(*(np.repeat(each, counts) for each in np.indices(shape).reshape(3, -1)))


def trial(truth: World, rows: int, seed: int) -> Counter[str]:
    """Decide which gates promote the challenger, and which intervals hold the true value."""
    # Not the stream that the bootstraps are drawn from, and another one for each size.
    split = draw(truth, rows, np.random.default_rng([rows, seed]))
    settings = (EVALUATION.resamples, EVALUATION.confidence, seed)
    difference = paired_f1_difference(split.truth, (split.ours, split.theirs), "macro", settings)
    confusion = confusion_matrix(split.truth, split.ours, len(truth.chances))
    f1 = bootstrap_f1(confusion, "macro", *settings)
    right = int(np.trace(confusion))
    accuracy = wilson_interval(right, rows, EVALUATION.confidence)
    judged = {
        policy: judge_difference(DEPLOYMENT.model_copy(update={"policy": policy}), difference)
        for policy in ("non_inferior", "superior", "no_worse")
    }
    return Counter(
        {policy: int(outcome is RuleOutcome.PASSED) for policy, outcome in judged.items()}
        | {
            "failed": int(judged["non_inferior"] is RuleOutcome.FAILED),
            "threshold": int(
                right / rows >= DEPLOYMENT.min_accuracy
                and float(f1_of_confusion(confusion, "macro")) >= DEPLOYMENT.min_f1
            ),
            "covers_difference": int(difference.low <= truth.difference <= difference.high),
            "covers_f1": int(f1[0] <= truth.f1 <= f1[1]),
            "covers_accuracy": int(accuracy[0] <= truth.accuracy <= accuracy[1]),
        }
    )


def rates(worlds: list[World], rows: int, trials: int) -> dict[str, float]:
    """Share of the trials in which each event happens, spread evenly over ``worlds``."""
    total: Counter[str] = Counter()
    for number in range(trials):
        total.update(trial(worlds[number % len(worlds)], rows, number))
    return {name: times / trials for name, times in total.items()}


def guard_rates(rows: int, discordance: float, loss: float, trials: int) -> dict[str, float]:
    """Share of each outcome of the guard for seven labels, and of a measured loss."""
    limit, seen = DEPLOYMENT.max_recall_loss, Counter[str]()
    generator = np.random.default_rng(rows)
    for _ in range(trials):
        parts = [
            part(rows, discordance, loss * (label == 0), generator) for label in range(GUARDED)
        ]
        seen[grade_losses(parts, limit)[0]] += 1
        seen["measured"] += any(each.loss.value > limit for each in parts)
    names = ("measured", RuleOutcome.WARNED, RuleOutcome.INCONCLUSIVE, RuleOutcome.FAILED)
    return {name: seen[name] / trials for name in names}


def part(
    rows: int, discordance: float, loss: float, generator: np.random.Generator
) -> SliceComparison:
    """One label on which production has a recall of 0.85."""
    theirs = (max(discordance, loss) + loss) / 2
    ours, both = theirs - loss, 0.85 - theirs
    counts = generator.multinomial(rows, [both, theirs, ours, 1 - both - theirs - ours])
    both_right, other_only, ours_only, _ = outcomes = tuple(counts.tolist())
    together = joint_confidence(EVALUATION.confidence, GUARDED)
    return SliceComparison(
        name="label",
        rows=rows,
        recall=(both_right + ours_only) / rows,
        other_recall=(both_right + other_only) / rows,
        loss=paired_proportion_difference(outcomes, together),
    )


def print_heads(*names: str) -> None:
    print_row(*names)
    print("| --- " * len(names) + "|")


def print_row(*cells: str | float) -> None:
    shown = (each if isinstance(each, str) else f"{each:.3f}" for each in cells)
    print("| " + " | ".join(shown) + " |", flush=True)


def print_guards(trials: int) -> None:
    outcomes = ("measured", "warned", "inconclusive", "failed")
    print_heads("rows a label, discordant", "loss in one", *outcomes)
    for rows, discordance, loss in product((30, 50, 100), (0.10, 0.20), (0.0, 0.1, 0.2, 0.3)):
        found = guard_rates(rows, discordance, loss, trials).values()
        print_row(f"{rows}, {discordance:.0%}", f"{loss:.2f}", *found)


def print_coverage(trials: int) -> None:
    print_heads("labels, true accuracy", *(f"{rows} rows" for rows in FEW_ROWS))
    for (labels, shares), accuracy in product(LABELS.items(), HIGH_ACCURACIES):
        truth = world(shares, accuracy, 0.0, np.zeros(len(shares)))
        held = (f1_coverage(truth, rows, trials) for rows in FEW_ROWS)
        print_row(f"{labels}, {accuracy:.2f}", *held)


def f1_coverage(truth: World, rows: int, trials: int) -> float:
    """The share of test splits whose interval of the macro-F1 holds the true one."""
    held = 0
    for number in range(trials):
        split = draw(truth, rows, np.random.default_rng([rows, number]))
        confusion = confusion_matrix(split.truth, split.ours, len(truth.chances))
        settings = (EVALUATION.resamples, EVALUATION.confidence, number)
        low, high = bootstrap_f1(confusion, "macro", *settings)
        held += low <= truth.f1 <= high
    return held / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    started = time.perf_counter()
    print_guards(options.trials)
    print_coverage(options.trials)
    gates = ("non_inferior", "superior", "no_worse", "threshold")
    held = ("covers_difference", "covers_f1", "covers_accuracy")
    print_heads(
        *("labels, discordant, difference in", "rows", "truth"),
        *(f"{gate} promotes" for gate in gates),
        *("non_inferior rejects", "difference held", "F1 held", "accuracy held"),
    )
    for setting, rows in product(settings(), options.sizes):
        found = rates(worlds(setting), rows, options.trials)
        cells = (found[name] for name in (*gates, "failed", *held))
        print_row(str(setting), f"{rows:,}", f"{setting.difference:+.2f}", *cells)
    print(f"{options.trials} trials a row, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
