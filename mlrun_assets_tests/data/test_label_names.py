"""Labels as the stage stores them: names or indices, one way in all files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import Config, LoadedConfig
from mlrun_assets.data.label_names import label_set
from mlrun_assets.data.validation import validate_dataset
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import SPLITS, DatasetRecord
from mlrun_assets_tests.examples import count_words, write_rows

NAMES = ["farming", "health", "sports"]


def rows_of(split: str, *labels: Any) -> list[dict[str, Any]]:
    return [
        {"text": f"{split} qoraal {number} {number}a", "label": label}
        for number, label in enumerate(labels)
    ]


def validate(
    directory: Path, given: dict[str, list[Any]], **data: Any
) -> tuple[DatasetRecord, dict[str, Counter[str]]]:
    """The record, and the stored rows by label."""
    for split in SPLITS:
        file = write_rows(directory / f"{split}.jsonl", rows_of(split, *given[split]))
        data[f"{split}_path"] = str(file)
    config = LoadedConfig(settings=Config.model_validate({"data": data}), directory=directory)
    record = validate_dataset(config, directory / "run", count_words)
    files = {split: ExperimentPaths(directory / "run").split(split) for split in SPLITS}
    return record, {
        split: Counter(pl.read_parquet(file)["label"].to_list()) for split, file in files.items()
    }


def quarantine(directory: Path, record: DatasetRecord) -> list[dict[str, Any]]:
    lines = (directory / "run" / record.quarantine_file).read_bytes().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("names", "labels", "stored"),
    [
        (NAMES, [0, 1, 2], NAMES),
        (NAMES, ["0", "01", "002"], NAMES),
        (NAMES, ["health", "sports"], ["health", "sports"]),
        (NAMES, [0, 2, 7, -1], ["farming", "sports"]),
        # Numbers are names where a name is a number.
        (["1", "2", "3", "4", "5"], [0, 1, 2, 5, 6], ["1", "2", "5"]),
        (["1.0", "2.0"], ["0", "1", "1.0"], ["1.0"]),
        (["-1", "0", "1"], [0, 1, 2, -1], ["0", "1", "-1"]),
        (["\u0661", "\u0662"], [0, 1, "\u0661"], ["\u0661"]),
        (["10", "farming"], [0, 1, 10], ["10"]),
        # Numbers that count from 1 are no indices.
        (NAMES, [1, 2, 3], []),
        # One name makes it a column of names.
        (NAMES, [0, 1, "sports"], ["sports"]),
    ],
)  # fmt: skip
def test_a_number_is_an_index_only_where_it_can_be_nothing_else(
    tmp_path: Path,
    names: list[str],
    labels: list[Any],
    stored: list[str],
) -> None:
    record, found = validate(
        tmp_path, {split: [*labels, *labels] for split in SPLITS}, labels=names
    )
    assert record.labels == tuple(names)
    for split in SPLITS:
        assert found[split] == Counter([*stored, *stored])
        profile = record.splits[split]
        assert profile.rows_read == 2 * len(labels) == profile.rows_kept + profile.rows_quarantined


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_read_one_way_in_all_splits(tmp_path: Path, split: str) -> None:
    labels = {each: [0, 1, 2, 0, 1, 2] for each in SPLITS}
    labels[split] = [0, 1, 2, 0, 1, "sports"]
    record, _ = validate(tmp_path, labels, labels=NAMES)
    assert not record.ready
    aside = quarantine(tmp_path, record)
    assert len(aside) == 17
    place = f"{tmp_path / split}.jsonl, line 6"
    assert all(row["reason"] == "unknown label" and place in row["detail"] for row in aside)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["b", "a", "b"], ("a", "b")), (["10", "2", "-1"], ("-1", "2", "10")), ([], ())],
)
def test_order_of_labels(labels: list[str], expected: tuple[str, ...]) -> None:
    assert label_set(pl.Series(labels, dtype=pl.String)) == expected
