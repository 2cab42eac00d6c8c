"""The input and the result of every check."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import polars as pl

from mlrun_assets.config import CheckName, DataConfig
from mlrun_assets.data.checks.near_duplicates import NearDuplicates, find_near_matches
from mlrun_assets.data.reading import SplitRows
from mlrun_assets.records import Bound, CheckOutcome, QualityCheck, Severity


@dataclass(frozen=True)
class Previous:
    """The validated splits of an earlier run on the data of the same name."""

    experiment: str
    frames: dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Dataset:
    """The data that the checks examine.

    ``splits`` by name; each frame has ``id``, ``text``, ``label``, ``key`` (what equal texts share)
    and ``tokens`` (the length in tokens, uncut). ``set_aside``: the rows of each split that are
    quarantined because of conflicting labels. ``show_text``: messages may quote texts.
    ``token_problem``: why ``tokens`` and ``unknown`` are null; ``special_tokens``: how many of the
    ``tokens`` of a text are none of its own.
    """

    splits: dict[str, SplitRows]
    labels: tuple[str, ...]
    num_labels: int | None
    max_length: int
    config: DataConfig
    previous: Previous | None = None
    show_text: bool = False
    token_problem: str | None = None
    special_tokens: int = 0
    set_aside: dict[str, pl.DataFrame] = field(default_factory=dict)

    def keys(self, split: str) -> pl.Series:
        """The keys of the rows of ``split``."""
        return self.splits[split].frame["key"]

    def every(self, *columns: str) -> pl.DataFrame:
        """These columns of the rows of all splits."""
        return pl.concat([rows.frame.select(columns) for rows in self.splits.values()])

    def with_set_aside(self) -> Dataset:
        """The data before rows were set aside."""
        splits = {
            name: replace(rows, frame=pl.concat([rows.frame, self.set_aside[name]]))
            for name, rows in self.splits.items()
            if name in self.set_aside
        }
        return replace(self, splits=self.splits | splits, set_aside={})

    @cached_property
    def near_duplicate_pairs(self) -> NearDuplicates:
        """Near-duplicates; several checks use them."""
        keys = {name: self.keys(name) for name in self.splits}
        return find_near_matches(keys, self.config.quality.near_duplicate_similarity)


class Measured(NamedTuple):
    """The value of a check, its threshold, the rows concerned, and how value and threshold relate.

    A check that looks at several values gives the one that decided.
    """

    value: float | None
    threshold: float | None
    rows: int = 0
    bound: Bound = Bound.AT_MOST


@dataclass(frozen=True)
class CheckResult:
    """A check with its by-products.

    ``columns``: of a split, the boolean column that its file gets, as long as the split.
    ``review``: rows for a person to look at, never changed by this package.
    ``leaks``: rows that are known from another split, each with the row it is known from.
    """

    check: QualityCheck
    columns: dict[str, pl.Series] = field(default_factory=dict)
    review: tuple[dict[str, object], ...] = ()
    leaks: tuple[dict[str, object], ...] = ()


Check = Callable[[Dataset], QualityCheck | CheckResult]


_WITHIN = {
    Bound.AT_MOST: operator.le,
    Bound.BELOW: operator.lt,
    Bound.AT_LEAST: operator.ge,
    Bound.EXACTLY: operator.eq,
}


def judged(
    name: CheckName,
    measured: Measured,
    fine: str,
    wrong: str | None = None,
    severity: Severity = Severity.WARN,
) -> QualityCheck:
    """The result of a check: it fails with ``severity`` if its value is beyond its threshold.

    ``fine`` is the message if it passes, ``wrong`` if it fails (by default the same). With a
    threshold and no value, there was nothing to measure: the check is off, not passed.
    """
    value, threshold, _, bound = measured
    within = value is None or threshold is None or _WITHIN[bound](value, threshold)
    unmeasured = value is None and threshold is not None
    passed = CheckOutcome.OFF if unmeasured else CheckOutcome.PASSED
    return QualityCheck(
        name=name,
        outcome=passed if within else CheckOutcome.FAILED,
        severity=Severity.WARN if within else severity,
        message=fine if within or wrong is None else wrong,
        **measured._asdict(),
    )


def off(name: CheckName, why: str = "turned off in data.quality.skip") -> QualityCheck:
    """The result of a check that was not run."""
    check = judged(name, Measured(None, None), why)
    return check.model_copy(update={"outcome": CheckOutcome.OFF})
