"""Check of the test split's size: which differences it can show at all."""

from __future__ import annotations

import math

import numpy as np

from mlrun_assets.records import QualityCheck, Severity
from mlrun_assets.stages.quality.finding import Dataset, Measured, failed, passed
from mlrun_assets.statistics import rows_behind_macro_average, rows_to_show, smallest_difference


def test_power(dataset: Dataset) -> QualityCheck:
    """The test split can show a difference worth knowing, by McNemar's exact test at 80 % power.

    Differences are given in half points, rounded up. For macro-F1 the rows count as the balanced
    rows that would tell as much.
    """
    quality = dataset.config.quality
    labels = dataset.splits["test"].frame["label"]
    accuracy = smallest_difference(len(labels), quality.test_discordance)
    counts = labels.value_counts()["count"].to_numpy().astype(np.int64)
    balanced = int(round(rows_behind_macro_average(counts), 6))
    f1 = smallest_difference(balanced, quality.test_discordance)
    said = (
        f"this test split of {len(labels)} rows can show differences of {_points(accuracy)} or "
        f"more ({_points(f1)} of macro-F1)"
    )
    if accuracy is None:
        said = f"this test split of {len(labels)} rows can show no difference at all"
    limit, wanted = quality.max_detectable_difference, quality.wanted_detectable_difference
    # Without a difference that the rows can show, 1.0: none between two scores is larger.
    worst = 1.0 if accuracy is None or f1 is None else max(accuracy, f1)
    measured = Measured(worst, limit)
    if worst <= limit:
        return passed("test_power", said, measured)
    share = max(1.0, len(labels) / max(1, balanced))
    more = rows_to_show(wanted, quality.test_discordance) * share - len(labels)
    if more > 0:
        said += f"; for {_points(wanted)} label about {_hundreds(more)} more"
    return failed("test_power", Severity.WARN, said, measured)


def _points(difference: float | None) -> str:
    if difference is None:
        return "no points"
    halves = math.ceil(round(difference * 200, 2))
    return f"{halves / 2:g} points"


def _hundreds(rows: float) -> int:
    return 100 * math.ceil(round(rows) / 100)
