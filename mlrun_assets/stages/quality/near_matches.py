"""Which texts of a dataset are nearly the same, within and across its splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mlrun_assets.arrays import BoolArray, RowNumbers
from mlrun_assets.stages.quality.shingles import Pairs, near_pairs


@dataclass(frozen=True)
class NearMatches:
    """Every distinct key of a dataset as a number, and the pairs of them that nearly match.

    ``numbers``: of each split, the key of each row. ``held``: of each split, which keys it has.
    """

    numbers: dict[str, RowNumbers]
    held: dict[str, BoolArray]
    pairs: Pairs

    def equal(self, split: str, other: str) -> BoolArray:
        """Rows of ``split`` whose key stands in ``other`` too."""
        return np.asarray(self.held[other][self.numbers[split]])

    def near(self, split: str, other: str) -> BoolArray:
        """Rows of ``split`` with a near match, and no equal one, in ``other``."""
        partner = np.zeros(len(self.held[other]), dtype=bool)
        for one, two in ((self.pairs.first, self.pairs.second), self.pairs[1::-1]):
            partner[one[self.held[other][two]]] = True
        return np.asarray((partner & ~self.held[other])[self.numbers[split]])

    def repeated(self, split: str) -> int:
        """Distinct keys of ``split`` that nearly match an earlier one of it."""
        held = self.held[split]
        inside = held[self.pairs.first] & held[self.pairs.second]
        return len(np.unique(self.pairs.second[inside]))


def find_near_matches(keys: dict[str, pl.Series], threshold: float) -> NearMatches:
    """The near matches among the keys of several splits."""
    every = pl.concat([series.alias("key") for series in keys.values()]).to_frame()
    distinct = every.unique(maintain_order=True).with_row_index("number")
    numbers = every.join(distinct, on="key", how="left", maintain_order="left")["number"]
    ends = np.cumsum([len(series) for series in keys.values()])[:-1]
    of_split = dict(zip(keys, np.split(numbers.to_numpy().astype(np.int64), ends), strict=True))
    held = {}
    for split, rows in of_split.items():
        held[split] = np.zeros(distinct.height, dtype=bool)
        held[split][rows] = True
    return NearMatches(of_split, held, near_pairs(distinct["key"], threshold))
