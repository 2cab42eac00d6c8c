"""Stage ``exported_model``: what would be deployed, tried in processes that know nothing of us."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import ExportError
from mlrun_assets.experiment_store import ExperimentPaths
from mlrun_assets.files import digest_directory, new_directory, size_in_bytes
from mlrun_assets.records import CheckpointRecord, DatasetRecord, ExportRecord
from mlrun_assets.stages.export.onnx_forms import Reference, export_onnx
from mlrun_assets.trainer.probe import ask_fresh_process

ROWS_COMPARED = 200


def export_model(
    directory: Path, dataset: DatasetRecord, checkpoint: CheckpointRecord, config: DeploymentConfig
) -> ExportRecord:
    """Copy the checkpoint to ``export/``, add ``onnx/``, and hold fresh processes to its answers.

    The transformers form answers for the first 200 val rows, an ONNX form for all of them; latency
    is that of one text alone. ``size_bytes`` is that of the transformers form.

    Raises:
        ExportError: the checkpoint is not the one that was trained, the export does not load, or
            there is no room for it; what ``export/`` held stays.
    """
    model_dir = directory / checkpoint.model_dir
    if digest_directory(model_dir) != checkpoint.digest:
        raise ExportError(
            f"{model_dir}: not the files that training wrote (their digest differs); materialize "
            "trained_checkpoint again"
        )
    val = pl.read_parquet(directory / dataset.splits["val"].file)
    paths = ExperimentPaths(directory)
    with _new_export(paths.export) as export_dir:
        shutil.copytree(model_dir, export_dir, dirs_exist_ok=True)
        size_bytes = size_in_bytes(export_dir)
        reference = Reference.of(model_dir, val, dataset.max_length)
        texts, own = reference.texts[:ROWS_COMPARED], reference.answers[:ROWS_COMPARED]
        answers = ask_fresh_process(export_dir, texts, dataset.max_length)
        agreeing = sum(a == b for a, b in zip(own, answers.labels, strict=True))
        forms, left_out = export_onnx(export_dir, reference, config) if config.onnx else ((), ())
        digest = digest_directory(export_dir)
    p50, p95 = np.quantile(answers.latencies_ms, [0.5, 0.95])
    return ExportRecord(
        model_dir=paths.relative(paths.export),
        digest=digest,
        size_bytes=size_bytes,
        rows_compared=len(texts),
        agreement=agreeing / len(texts),
        load_seconds=answers.load_seconds,
        latency_ms_p50=float(p50),
        latency_ms_p95=float(p95),
        rows_per_second=answers.rows_per_second,
        onnx=forms,
        onnx_left_out=left_out,
    )


@contextmanager
def _new_export(target: Path) -> Iterator[Path]:
    """A directory that replaces ``target`` when the block ends; see `new_directory`.

    Raises:
        ExportError: a file could not be written.
    """
    try:
        with new_directory(target, replace=True) as directory:
            yield directory
    except OSError as error:
        free = shutil.disk_usage(target.parent).free
        raise ExportError(
            f"{target}: the export could not be written ({error}; {free / 1e6:,.0f} MB are free): "
            "make room and materialize exported_model again"
        ) from error
