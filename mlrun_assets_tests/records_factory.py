"""Records as small as a test needs them."""

from __future__ import annotations

from typing import Any

from mlrun_assets.records import (
    CheckpointRecord,
    ClassScores,
    Comparison,
    DatasetRecord,
    EpochMetrics,
    EvaluationRecord,
    ExportRecord,
    OnnxExport,
    Score,
    Scores,
    SeedResult,
    SplitProfile,
)


def score(value: float, half: float = 0.05) -> Score:
    return Score(value=value, low=value - half, high=value + half)


def split_profile(label_rows: dict[str, int], **changes: Any) -> SplitProfile:
    rows = sum(label_rows.values())
    facts: dict[str, Any] = {
        "source": "train.jsonl",
        "source_digest": "sha256:1",
        "source_bytes": 1000,
        "file": "data/train.parquet",
        "rows_read": rows,
        "rows_kept": rows,
        "rows_quarantined": 0,
        "label_rows": label_rows,
        "words_median": 12.0,
        "words_p95": 20.0,
        "tokens_median": 20.0,
        "tokens_p95": 40.0,
        "tokens_max": 60,
        "tokens_per_word": 1.8,
        "truncated_fraction": 0.0,
        "unknown_token_fraction": 0.0,
    }
    return SplitProfile(**{**facts, **changes})


def dataset_record(train: dict[str, int], **changes: Any) -> DatasetRecord:
    profile = split_profile(train, **changes)
    return DatasetRecord(
        ready=True,
        digest="sha256:data",
        labels=tuple(train),
        splits={"train": profile, "val": profile, "test": profile},
        checks=(),
        quarantine_reasons={},
        quarantine_file="data/quarantine.jsonl",
        max_length=128,
    )


def seed_result(seed: int, **changes: Any) -> SeedResult:
    facts: dict[str, Any] = {
        "seed": seed,
        "val_f1_macro": 0.8,
        "val_accuracy": 0.85,
        "val_loss": 0.5,
        "best_epoch": 1.0,
        "seconds": 1.0,
        "model_dir": "model",
        "digest": "sha256:model",
    }
    return SeedResult(**{**facts, **changes})


def checkpoint_record(**changes: Any) -> CheckpointRecord:
    epoch = EpochMetrics(
        epoch=1.0, step=10, train_loss=0.6, val_loss=0.5, val_accuracy=0.85, val_f1_macro=0.8
    )
    facts: dict[str, Any] = {
        "model_dir": "model",
        "digest": "sha256:model",
        "size_bytes": 1000,
        "parameters": 100,
        "history": (epoch,),
        "best_epoch": 1.0,
        "stopped_early": False,
        "resumed_from_step": None,
        "passed_over": (),
        "steps": 10,
        "seconds": 1.0,
        "tokens_per_second": 100.0,
        "peak_memory_mb": 500.0,
        "trim": None,
    }
    return CheckpointRecord(**{**facts, **changes})


def scores(accuracy: float, f1: float, half: float = 0.05) -> Scores:
    classes = tuple(
        ClassScores(label=label, precision=f1, recall=f1, f1=f1, support=50, predicted=50)
        for label in ("a", "b")
    )
    return Scores(
        rows=100,
        accuracy=score(accuracy, half),
        f1_macro=score(f1, half),
        f1_weighted=score(f1, half),
        mcc=0.5,
        per_class=classes,
        confusion=((40, 10), (10, 40)),
    )


def comparison(difference: Score | None, against: str = "n-gram baseline") -> Comparison:
    return Comparison(
        against=against,
        comparable=difference is not None,
        reason="the same rows" if difference else "production knows other labels",
        rows=100,
        other_f1=0.8,
        other_accuracy=0.8,
        f1_difference=difference,
        accuracy_difference=0.0,
        only_challenger_right=5,
        only_other_right=5,
        mcnemar_p=1.0,
    )


def evaluation_record(
    accuracy: float = 0.9,
    f1: float = 0.9,
    baseline: Score | None = None,
    production: Comparison | None = None,
) -> EvaluationRecord:
    return EvaluationRecord(
        test_digest="sha256:test",
        labels=("a", "b"),
        f1_kind="macro",
        confidence=0.95,
        val=scores(accuracy, f1),
        test=scores(accuracy, f1),
        calibration_error=0.03,
        slices=(),
        baseline=comparison(baseline or score(0.1)),
        production=production,
        predictions_file="records/predictions.parquet",
        seconds=1.0,
        rows_per_second=100.0,
    )


def export_record(agreement: float = 1.0) -> ExportRecord:
    return ExportRecord(
        model_dir="export",
        digest="sha256:export",
        size_bytes=1000,
        rows_compared=100,
        agreement=agreement,
        load_seconds=1.0,
        latency_ms_p50=5.0,
        latency_ms_p95=9.0,
        rows_per_second=50.0,
        onnx=(
            onnx_export(precision="int8", size_bytes=260, agreement=0.98, kept=False),
            onnx_export(precision="float32", size_bytes=1010),
        ),
        onnx_left_out=(
            "ONNX in int8 is left out: it gives the checkpoint's label to 98.0 % of 100 val rows, "
            "and 99.5 % are asked for.",
        ),
    )


def onnx_export(**changes: object) -> OnnxExport:
    return OnnxExport(
        file="onnx/model.onnx",
        precision="float32",
        size_bytes=1010,
        agreement=1.0,
        val_f1_macro=0.8,
        load_seconds=0.4,
        latency_ms_p50=2.0,
        latency_ms_p95=3.0,
        rows_per_second=120.0,
    ).model_copy(update=changes)
