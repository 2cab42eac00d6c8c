"""The train and val rows, and the folds in which models are cross-validated on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.config import Config, extra_column
from mlrun_assets.data.checks.near_duplicates import near_pairs
from mlrun_assets.data.text import duplicate_key
from mlrun_assets.metrics import label_numbers
from mlrun_assets.progress import task
from mlrun_assets.records import DatasetRecord
from mlrun_assets.types import BoolArray, FloatArray, IntArray, LabelIds

FOLDS = 5


@dataclass(frozen=True)
class LabelledRows:
    """The train rows, and after them the val rows; all arrays have the shape (rows,).

    ``folds`` has the number of the fold of a row. A group of rows is in one fold, and so are texts
    that are near-duplicates.
    """

    ids: list[str]
    texts: list[str]
    truth: LabelIds
    in_val: BoolArray
    folds: IntArray
    labels: tuple[str, ...]

    def score_out_of_fold(self, score: Callable[[BoolArray], FloatArray]) -> FloatArray:
        """Scores of shape (rows, labels) from models that were fitted on the other folds.

        ``score`` gets a condition per row, fits a model on the rows that don't hold it, and returns
        the scores of those that do.
        """
        scores = np.zeros((len(self.texts), len(self.labels)))
        folds = np.unique(self.folds)
        with task("cross-validating", len(folds), "folds") as advance:
            for fold in folds:
                held_out = self.folds == fold
                scores[held_out] = score(held_out)
                advance()
        return scores


def read_rows(directory: Path, dataset: DatasetRecord, config: Config) -> LabelledRows:
    """Read the validated train and val rows, and assign their folds."""
    frames = [
        pl.read_parquet(directory / dataset.splits[split].file, glob=False)
        for split in ("train", "val")
    ]
    frame = pl.concat(frames, how="diagonal")
    truth = label_numbers(frame["label"], dataset.labels)
    column = config.data.group_column
    return LabelledRows(
        ids=frame["id"].to_list(),
        texts=frame["text"].to_list(),
        truth=truth,
        in_val=np.arange(frame.height) >= frames[0].height,
        folds=assign_folds(
            truth,
            _clusters(
                frame["text"],
                frame[extra_column(column)] if column else None,
                config.data.quality.near_duplicate_similarity,
            ),
            config.training.seed,
        ),
        labels=dataset.labels,
    )


def assign_folds(truth: LabelIds, clusters: IntArray, seed: int) -> IntArray:
    """The number of the fold of each row: labels spread evenly, clusters whole.

    There are `FOLDS` folds, fewer where no label has so many rows. A single cluster is divided.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(np.unique(clusters)) < 2:
        clusters = np.arange(len(truth))
    most = int(np.bincount(truth).max())
    if most < 2:
        return np.unique(clusters, return_inverse=True)[1] % FOLDS
    count = max(2, min(FOLDS, most, len(np.unique(clusters))))
    folds = np.zeros(len(truth), dtype=np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label has fewer rows than there are folds
        for number, (_, held_out) in enumerate(splitter.split(truth, truth, clusters)):
            folds[held_out] = number
    return folds


def _clusters(texts: pl.Series, groups: pl.Series | None, similarity: float) -> IntArray:
    """The number of the cluster of each row: equal or nearly equal texts, and rows of a group."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    keys = np.array([duplicate_key(text) for text in texts], dtype=object)
    distinct, key = np.unique(keys, return_inverse=True)
    pairs = near_pairs(pl.Series(distinct.tolist(), dtype=pl.String), similarity)
    first, second, nodes = [pairs.first], [pairs.second], len(distinct)
    if groups is not None:
        known = groups.is_not_null().to_numpy()
        names, number = np.unique(groups.drop_nulls().to_numpy(), return_inverse=True)
        first.append(key[known])
        second.append(nodes + number)
        nodes += len(names)
    edges = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(edges[0])), edges), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1][key], dtype=np.int64)
