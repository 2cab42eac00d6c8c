"""Rules about the labels: how sure the model may become of them, and what each weighs."""

from __future__ import annotations

from mlrun_assets.records import DatasetRecord
from mlrun_assets.stages.plan.choosing import Ruling
from mlrun_assets.stages.plan.situation import Situation

UNEQUAL, VERY_UNEQUAL = 3.0, 10.0
MAX_SQRT_WEIGHT = 5.0


def label_smoothing(situation: Situation) -> Ruling:
    """A tenth of the probability mass on small data."""
    return Ruling(
        0.1 if situation.is_small else 0.0,
        "0.1 below 2,000 rows, which make a model too sure of itself",
        situation.said_rows,
    )


def class_weights(situation: Situation) -> Ruling:
    """Which kind of weights; `label_weights` are the weights themselves."""
    imbalance = situation.dataset.imbalance
    kind = "balanced" if imbalance >= UNEQUAL else "none"
    return Ruling(
        "sqrt" if imbalance >= VERY_UNEQUAL else kind,
        "from 3 to 1 on rare labels weigh more, by their frequency; from 10 to 1 on by its root",
        f"the largest label has {imbalance:.1f} times the rows of the smallest",
    )


def label_weights(dataset: DatasetRecord, kind: object) -> tuple[float, ...] | None:
    """Inverse frequencies with mean 1 over the rows, or their roots, capped.

    A label without training rows, which the data checks block, would weigh like one with one row.
    """
    if kind == "none":
        return None
    rows = dataset.splits["train"].label_rows
    counts = [max(1, rows[label]) for label in dataset.labels]
    inverse = [sum(counts) / (len(counts) * count) for count in counts]
    if kind == "balanced":
        return tuple(inverse)
    return tuple(min(MAX_SQRT_WEIGHT, weight**0.5) for weight in inverse)
