from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mlrun_assets.config import EvaluationConfig
from mlrun_assets.models.ngrams import measure_baseline
from mlrun_assets.records import DatasetRecord
from mlrun_assets_tests.examples import sample_rows, split_profile

LABELS = ("farming", "health", "sports")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetRecord]:
    directory = tmp_path_factory.mktemp("experiment")
    profiles = {}
    (directory / "data").mkdir()
    for split in ("train", "val", "test"):
        rows = sample_rows(split)
        pl.DataFrame(rows).write_parquet(directory / "data" / f"{split}.parquet")
        counts = {label: sum(row["label"] == label for row in rows) for label in LABELS}
        profiles[split] = split_profile(counts, file=f"data/{split}.parquet")
    record = DatasetRecord(
        name="som",
        ready=True,
        digest="sha256:data",
        labels=LABELS,
        splits=profiles,
        checks=(),
        quarantine_reasons={},
        quarantine_file="data/quarantine.jsonl",
        max_length=128,
    )
    return directory, record


def test_the_model_is_chosen_on_val_and_beats_the_commonest_label(
    dataset: tuple[Path, DatasetRecord],
) -> None:
    directory, record = dataset
    baseline = measure_baseline(directory, record, EvaluationConfig(), seed=1)
    best = max(baseline.candidates, key=lambda candidate: candidate.val_f1_macro)
    assert baseline.chosen == best.name
    assert len(baseline.candidates) == 3
    assert baseline.majority_label == "farming"
    assert baseline.majority.accuracy.value == pytest.approx(1 / 3)
    assert baseline.majority.f1_macro.value == pytest.approx(1 / 6)
    assert baseline.linear.f1_macro.low > baseline.majority.f1_macro.high
    predictions = pl.read_parquet(directory / baseline.predictions_file)
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(baseline.linear.accuracy.value)
    assert predictions["id"].to_list() == [row["id"] for row in sample_rows("test")]


def test_the_same_seed_gives_the_same_scores(dataset: tuple[Path, DatasetRecord]) -> None:
    directory, record = dataset
    first, second = (
        measure_baseline(directory, record, EvaluationConfig(), seed=3).linear for _ in range(2)
    )
    assert first == second


def test_complement_naive_bayes_is_a_strong_model_of_short_texts(
    dataset: tuple[Path, DatasetRecord],
) -> None:
    directory, record = dataset
    baseline = measure_baseline(directory, record, EvaluationConfig(), seed=1)
    scores = {candidate.name: candidate.val_f1_macro for candidate in baseline.candidates}
    assert min(scores.values()) > 0.7
