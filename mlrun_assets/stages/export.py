"""Stage ``exported_model``: what would be deployed, tried in a process that knows nothing of us."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.errors import ExportError
from mlrun_assets.files import digest_directory, size_in_bytes
from mlrun_assets.records import CheckpointRecord, DatasetRecord, ExportRecord
from mlrun_assets.trainer.probe import ask_fresh_process

EXPORT_DIR = "export"
ROWS_COMPARED = 200


def export_model(
    directory: Path, dataset: DatasetRecord, checkpoint: CheckpointRecord
) -> ExportRecord:
    """Copy the checkpoint to ``export/`` and hold a fresh process's answers against its own.

    The answers are to the first 200 val rows; latency is that of one text alone.

    Raises:
        ExportError: the checkpoint is not the one that was trained, or the export does not load.
    """
    from mlrun_assets.trainer.prediction import Predictor

    model_dir, export_dir = directory / checkpoint.model_dir, directory / EXPORT_DIR
    if digest_directory(model_dir) != checkpoint.digest:
        raise ExportError(
            f"{model_dir}: not the files that training wrote (their digest differs); materialize "
            "trained_checkpoint again"
        )
    shutil.rmtree(export_dir, ignore_errors=True)
    shutil.copytree(model_dir, export_dir)
    texts = pl.read_parquet(directory / dataset.splits["val"].file)["text"].to_list()
    texts = texts[:ROWS_COMPARED]
    predictor = Predictor(model_dir, dataset.max_length)
    own = [predictor.labels[number] for number in predictor.probabilities(texts).argmax(axis=1)]
    answers = ask_fresh_process(export_dir, texts, dataset.max_length)
    p50, p95 = np.quantile(answers.latencies_ms, [0.5, 0.95])
    return ExportRecord(
        model_dir=EXPORT_DIR,
        digest=digest_directory(export_dir),
        size_bytes=size_in_bytes(export_dir),
        rows_compared=len(texts),
        agreement=sum(a == b for a, b in zip(own, answers.labels, strict=True)) / len(texts),
        load_seconds=answers.load_seconds,
        latency_ms_p50=float(p50),
        latency_ms_p95=float(p95),
    )
