"""The whole stage on a tiny classifier that was never trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import polars as pl
import pytest

from mlrun_assets.config import Config
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import RecordError
from mlrun_assets.evaluation.comparison import Deployed
from mlrun_assets.evaluation.evaluation import evaluate_checkpoint
from mlrun_assets.files import digest_directory
from mlrun_assets.metrics import label_numbers
from mlrun_assets.records import (
    BaselineRecord,
    EvaluationRecord,
    ProductionVersion,
    UnlabelledTexts,
)
from mlrun_assets.training.train import TrainingRequest, train_cheap, train_checkpoint
from mlrun_assets_tests.examples import (
    RECIPE,
    checkpoint_record,
    dataset_record,
    sample_rows,
    seed_result,
    split_profile,
)

LABELS = ("farming", "health", "sports")
ROWS = 36
TOLD = {"farming": "beer beer", "health": "caafimaad dhakhtar", "sports": "gool kubbad"}


def classifier(encoder: Path, directory: Path, labels: tuple[str, ...], seed: int = 0) -> Path:
    import torch
    from transformers import AutoModelForSequenceClassification

    from mlrun_assets.machine import quiet_transformers

    torch.manual_seed(seed)
    with quiet_transformers():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(encoder), id2label=dict(enumerate(labels)), label2id={}, num_labels=len(labels)
        )
    shutil.copytree(encoder, directory)
    model.save_pretrained(str(directory))
    return directory


@pytest.fixture(scope="module")
def experiment(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evaluation") / "experiment"
    (directory / "data").mkdir(parents=True)
    for split in ("train", "val", "test"):
        pl.DataFrame(sample_rows(split)[:ROWS]).with_columns(
            id=pl.format(f"{split}-{{}}", pl.int_range(pl.len())),
            # So that a tiny encoder without training can tell the labels.
            text=pl.format("{} {}", pl.col("label").replace(TOLD), pl.col("text")),
            tokens=pl.lit(20),
            code_switched=pl.lit(value=False),
            leaks=pl.int_range(pl.len()) < (4 if split == "test" else 0),
            file=pl.lit(f"{split}.jsonl"),
            line=pl.int_range(1, pl.len() + 1),
        ).write_parquet(directory / "data" / f"{split}.parquet")
    recipe = RECIPE.model_copy(update={"candidates": ("frozen",), "class_weights": None})
    encoder = resolve_encoder(str(tiny_encoder), None, directory)
    request = TrainingRequest((recipe,), encoder, Config())
    measured = train_cheap(directory, _dataset(), request)
    measured.save(directory / "baseline.json")
    train_checkpoint(directory, _dataset(), measured, request, lambda _: None)
    return directory


def _dataset() -> Any:
    splits = {
        split: split_profile({"farming": 1}, file=f"data/{split}.parquet")
        for split in ("train", "val", "test")
    }
    record = dataset_record(dict.fromkeys(LABELS, 12))
    return record.model_copy(update={"splits": splits, "max_length": 32})


Evaluate = Callable[..., EvaluationRecord]


@pytest.fixture
def evaluate(experiment: Path) -> Evaluate:
    def run(
        production: Deployed | None = None,
        unlabelled: UnlabelledTexts | None = None,
        seeds: tuple[int, ...] = (42,),
        **sections: Any,
    ) -> EvaluationRecord:
        return evaluate_checkpoint(
            experiment,
            _dataset().model_copy(update={"unlabelled": unlabelled}),
            checkpoint_record(chosen="encoder", seeds=tuple(map(seed_result, seeds))),
            BaselineRecord.load(experiment / "baseline.json"),
            production,
            Config(**sections),
        )

    return run


def deployed(model_dir: Path, **learned: Any) -> Deployed:
    facts: dict[str, Any] = {
        "version": "exp_1",
        "experiment": "exp_1",
        "report": "impl-ml-run-first-20261101",
        "digest": digest_directory(model_dir),
        "labels": LABELS,
        "max_length": 32,
        "promoted_at": "2026-11-01T00:00:00Z",
        "accuracy": 0.8,
        "f1": 0.8,
    }
    return Deployed(ProductionVersion(**{**facts, **learned}), model_dir)


def listed(directory: Path, record: EvaluationRecord) -> list[dict[str, Any]]:
    lines = (directory / record.label_next_file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_what_every_model_says_to_every_test_row_is_kept(
    experiment: Path, evaluate: Evaluate, tiny_encoder: Path, tmp_path: Path
) -> None:
    # The labels of production stand in another order: names are compared, not numbers.
    other = classifier(tiny_encoder, tmp_path / "production", LABELS[::-1], seed=5)
    record = evaluate(deployed(other))
    assert record.production is not None and record.production.comparable
    predictions = pl.read_parquet(experiment / record.predictions_file)
    assert predictions["id"].to_list() == [f"test-{number}" for number in range(ROWS)]
    assert predictions["right"].mean() == pytest.approx(record.test.accuracy.value)
    for column, comparison in (("baseline", record.baseline), ("production", record.production)):
        right = (predictions[column] == predictions["label"]).mean()
        assert comparison.other_accuracy
        assert right == pytest.approx(comparison.other_accuracy.value)
    probabilities = predictions.select(f"probability_{label}" for label in LABELS).to_numpy()
    named = label_numbers(predictions["prediction"], LABELS)
    assert named.tolist() == probabilities.argmax(axis=1).tolist()
    assert predictions["confidence"].to_list() == probabilities.max(axis=1).tolist()
    assert predictions["leaks"].sum() == 4
    clean = record.test_without_leaks
    assert clean is not None and clean.rows == ROWS - 4
    assert "text" not in predictions.columns


def test_calibration_is_recorded_and_the_same_again(evaluate: Evaluate) -> None:
    record = evaluate()
    chance = record.calibration.chance
    assert 0.0 < chance.mean < chance.p95 < 1.0
    assert evaluate().calibration == record.calibration
    assert record.test_looks.looks == 1


def test_the_predictions_of_each_seed_are_kept_and_scored(
    experiment: Path, evaluate: Evaluate
) -> None:
    record = evaluate(seeds=(42, 87))
    assert [seed.accuracy for seed in record.seeds] == [record.test.accuracy.value] * 2
    predictions = pl.read_parquet(experiment / record.predictions_file)
    assert predictions["seed_87"].to_list() == predictions["prediction"].to_list()


def test_scores_are_those_of_float32(
    evaluate: Evaluate, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.models import predictor as prediction

    production = deployed(classifier(tiny_encoder, tmp_path / "production", LABELS, seed=5))

    def scored(*, drafting: bool) -> EvaluationRecord:
        monkeypatch.setattr(prediction, "_multiplies_bfloat16", lambda: drafting)
        return evaluate(production)

    exact, drafted = scored(drafting=False), scored(drafting=True)
    assert drafted.calibration.error != exact.calibration.error
    for part in ("val", "test", "test_without_leaks", "slices", "baseline", "production"):
        assert getattr(drafted, part) == getattr(exact, part)
    assert drafted.calibration.brier == pytest.approx(exact.calibration.brier, abs=0.002)


def test_val_rows_are_listed_where_there_are_no_texts_without_labels(
    experiment: Path, evaluate: Evaluate
) -> None:
    record = evaluate()
    rows = listed(experiment, record)
    assert (record.label_next.split, record.label_next.candidates) == ("val", ROWS)
    assert record.label_next.rows == len(rows) > 0
    labels = dict(pl.read_parquet(experiment / "data/val.parquet").select("id", "label").rows())
    for row in rows:
        assert (row["split"], row["file"]) == ("val", "val.jsonl")
        assert row["id"] == f"val-{row['line'] - 1}"
        assert row["label"] == labels[row["id"]]
        assert row["why"]
        assert "text" not in row
    shown = listed(experiment, evaluate(reports={"show_text": True}))
    assert all(row["text"] for row in shown)


def test_texts_without_labels_are_listed_before_val_rows(
    experiment: Path, evaluate: Evaluate
) -> None:
    pl.DataFrame(sample_rows("train")[-20:]).select(
        "text",
        id=pl.format("u{}", pl.int_range(pl.len())),
        file=pl.lit("more.jsonl"),
        line=pl.int_range(1, pl.len() + 1),
    ).write_parquet(experiment / "data/more.parquet")
    record = evaluate(
        unlabelled=UnlabelledTexts(
            files=(),
            file="data/more.parquet",
            digest="sha256:more",
            rows_read=20,
            rows_kept=20,
            left_out={},
        )
    )
    assert (record.label_next.split, record.label_next.candidates) == ("unlabelled", 20)
    for row in listed(experiment, record):
        assert row["id"].startswith("u")
        assert row["file"] == "more.jsonl"
        assert "label" not in row
        assert {row["prediction"], row["baseline"]} <= set(LABELS)


@pytest.mark.parametrize(
    "lost", ["baseline/ngrams/model.safetensors", "records/baseline_predictions.parquet"]
)
@pytest.mark.parametrize(("left", "why"), [(None, "it is gone"), (b"NOT", "")])
def test_what_the_baseline_left_and_is_lost_is_one_error_before_anything_is_predicted(
    experiment: Path,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
    left: bytes | None,
    why: str,
) -> None:
    monkeypatch.setattr("mlrun_assets.models.predictor.Predictor.probabilities", None)
    file = experiment / lost
    whole = file.read_bytes()
    file.unlink()
    if left:
        file.write_bytes(left)
    try:
        told = rf"can't be read: {why}.*; materialize baseline_metrics again"
        with pytest.raises(RecordError, match=told) as raised:
            evaluate()
        assert "\n" not in str(raised.value)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("learned", "reason"),
    [
        (
            {"labels": ("farming", "trade")},
            "production knows the labels farming, trade; this model farming, health, sports",
        ),
        (
            {"text_columns": ("headline", "text")},
            "production reads the text columns headline, text; this model text",
        ),
        ({"language": "swa"}, "production reads texts in the normal form of swa; this model som"),
        ({"text_columns": ("text",), "language": "so"}, "the same rows, aligned by id"),
        ({"digest": "sha256:other"}, "the files of the model in production were changed since "),
    ],
)
def test_production_that_learned_otherwise_or_was_changed_is_incomparable(
    evaluate: Evaluate, experiment: Path, learned: dict[str, Any], reason: str
) -> None:
    record = evaluate(deployed(experiment / "model", **learned))
    assert record.production is not None
    assert record.production.reason.startswith(reason)
    assert record.production.comparable == reason.startswith("the same rows")
    predictions = pl.read_parquet(experiment / record.predictions_file)
    assert ("production" in predictions.columns) == record.production.comparable


def test_production_that_does_not_load_or_is_of_other_labels_than_said_is_incomparable(
    evaluate: Evaluate, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    broken = evaluate(deployed(tmp_path / "model")).production
    assert broken is not None and not broken.comparable
    assert broken.reason.startswith("the model in production can't be used: ")
    assert "\n" not in broken.reason
    mistaken = classifier(tiny_encoder, tmp_path / "other", ("one", "two", "three"))
    other = evaluate(deployed(mistaken)).production
    assert other and other.reason == "the labels of the model in production are not its record's"
    production = deployed(mistaken)
    unreadable = Mock(side_effect=OSError(5, "Input/output error"))
    monkeypatch.setattr("mlrun_assets.evaluation.comparison.digest_directory", unreadable)
    unread = evaluate(production).production
    assert unread is not None and unread.reason.endswith("can't be read: Input/output error")
