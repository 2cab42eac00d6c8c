"""The folds in which candidates are cross-validated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import Config, extra_column
from mlrun_assets.data.folds import FOLDS, assign_folds, read_rows
from mlrun_assets_tests.examples import LABELS, sample_rows, write_splits


def test_near_duplicates_and_groups_are_in_one_fold(tmp_path: Path) -> None:
    splits = {name: sample_rows(name)[:40] for name in ("train", "val")}
    first = splits["train"][0]["text"]
    for row, text in zip(splits["val"], (first, first.upper(), f"{first} oo"), strict=False):
        row["text"] = text
    for rows in splits.values():
        for number, row in enumerate(rows):
            row[extra_column("source")] = f"paper {number % 4}" if number % 8 > 3 else None
    dataset = write_splits(tmp_path, splits, LABELS)
    config = Config(data={"group_column": "source"})  # type: ignore[arg-type]
    rows = read_rows(tmp_path, dataset, config)
    assert rows.in_val.tolist() == [False] * 40 + [True] * 40
    assert len(set(rows.folds[[0, 40, 41, 42]])) == 1
    names = [row[extra_column("source")] for split in splits.values() for row in split]
    for paper in {name for name in names if name}:
        assert len({rows.folds[at] for at, name in enumerate(names) if name == paper}) == 1
    assert set(rows.folds) == set(range(FOLDS))
    again = read_rows(tmp_path, dataset, config)
    assert again.folds.tolist() == rows.folds.tolist()


def test_each_fold_has_its_share_of_each_label() -> None:
    truth = np.repeat([0, 1, 2], [50, 20, 5])
    folds = assign_folds(truth, np.arange(75), seed=1)
    for label, rows in enumerate((10, 4, 1)):
        assert np.bincount(folds[truth == label]).tolist() == [rows] * FOLDS


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=30),
    seed=st.integers(0, 9),
)
def test_every_fold_leaves_rows_to_fit_and_clusters_are_whole(
    rows: list[tuple[int, int]], seed: int
) -> None:
    """Labels with one row, fewer rows than folds, and few clusters included."""
    truth, clusters = np.array(rows).T
    folds = assign_folds(truth, clusters, seed)
    assert 2 <= len(np.unique(folds)) <= FOLDS
    if len(np.unique(clusters)) > 1:
        for cluster in np.unique(clusters):
            assert len(np.unique(folds[clusters == cluster])) == 1


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [0, 1, 2]])
def test_as_many_rows_as_there_are_folds_are_not_needed(labels: list[int]) -> None:
    folds = assign_folds(np.array(labels), np.arange(len(labels)), seed=1)
    assert len(np.unique(folds)) >= 2
