"""Stage ``exported_model``: what would be deployed, tried in processes that know nothing of us."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import ExportError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import digest_directory, new_directory, size_in_bytes, write_atomically
from mlrun_assets.metrics import label_numbers, val_metrics
from mlrun_assets.models.onnx_probe import ask_without_torch
from mlrun_assets.models.probe import ask_fresh_process
from mlrun_assets.records import (
    MIN_AGREEMENT,
    CheckpointRecord,
    DatasetRecord,
    ExportRecord,
    OnnxExport,
)
from mlrun_assets.types import LabelIds

MODEL_FILE = "model.onnx"
CLASSIFIER_FILE = "onnx_classifier.py"


def add_what_serves(model_dir: Path, onnx_dir: Path, max_length: int) -> None:
    """Put tokenizer, settings, reader and, of an ensemble, the n-gram model into ``onnx_dir``.

    The tokenizer carries ``max_length`` and the padding, so that a reader has to know neither.

    Raises:
        ExportError: the tokenizer can't be used without transformers.
        OSError: the disk is full.
    """
    from mlrun_assets.models.served import ngram_scorer
    from mlrun_assets.models.served import onnx_classifier as classifier

    onnx_dir.mkdir(parents=True, exist_ok=True)
    ngrams = (model_dir / ngram_scorer.NGRAMS_DIR).is_dir()
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    settings = {"id2label": config["id2label"], "max_length": max_length, "ngrams": ngrams}
    write_atomically(onnx_dir / "config.json", json.dumps(settings, indent=2) + "\n")
    write_atomically(onnx_dir / "tokenizer.json", _tokenizer(model_dir, max_length))
    shutil.copyfile(classifier.__file__, onnx_dir / CLASSIFIER_FILE)
    if ngrams:
        shutil.copyfile(ngram_scorer.__file__, onnx_dir / "ngram_scorer.py")
        shutil.copytree(model_dir / ngram_scorer.NGRAMS_DIR, onnx_dir / ngram_scorer.NGRAMS_DIR)


def _tokenizer(model_dir: Path, max_length: int) -> str:
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    tokenizer = getattr(known, "backend_tokenizer", None)
    if tokenizer is None:
        raise ExportError("its tokenizer is Python code of transformers and has no tokenizer.json")
    tokenizer.enable_truncation(max_length, direction=known.truncation_side)
    tokenizer.enable_padding(
        pad_id=known.pad_token_id, pad_token=known.pad_token, direction=known.padding_side
    )
    return str(tokenizer.to_str())


ONNX_DIR = "onnx"
FLOAT32, INT8 = "float32", "int8"


@dataclass(frozen=True)
class Reference:
    """What the checkpoint itself says to all val rows; ``truth`` are label numbers."""

    labels: tuple[str, ...]
    texts: list[str]
    truth: LabelIds
    answers: list[str]
    max_length: int

    @classmethod
    def of(cls, model_dir: Path, val: pl.DataFrame, max_length: int) -> Self:
        """Ask the checkpoint."""
        from mlrun_assets.models.predictor import Predictor

        predictor = Predictor(model_dir, max_length, exact=True)
        texts, labels = val["text"].to_list(), predictor.labels
        answers = [labels[number] for number in predictor.probabilities(texts).argmax(axis=1)]
        truth = label_numbers(val["label"], labels)
        return cls(labels, texts, truth, answers, max_length)

    def f1_macro(self, answers: list[str]) -> float:
        """Macro-F1 of ``answers`` to the val rows."""
        guess = label_numbers(pl.Series(answers), self.labels)
        return val_metrics(self.truth, guess)["f1_macro"]


def export_onnx(
    export_dir: Path, reference: Reference, config: DeploymentConfig
) -> tuple[tuple[OnnxExport, ...], tuple[str, ...]]:
    """Add ``onnx/`` to ``export_dir``: int8 if it costs no quality, else float32, else nothing.

    Returns:
        Every form that was tried, and for each that is left out a sentence that says why.

    Raises:
        OSError: the disk is full.
    """
    from mlrun_assets.models.onnx_export import write_float32, write_int8

    onnx_dir, workshop = export_dir / ONNX_DIR, export_dir / ".workshop"
    model_file, float32_file = onnx_dir / MODEL_FILE, workshop / MODEL_FILE
    workshop.mkdir()
    tried, left_out = [], []
    try:
        add_what_serves(export_dir, onnx_dir, reference.max_length)
        write_float32(export_dir, float32_file)
        write_int8(float32_file, model_file)
        for precision in (INT8, FLOAT32):
            if precision == FLOAT32:
                float32_file.replace(model_file)
            form = _try(onnx_dir, precision, reference)
            why = _shortcoming(form, reference, config)
            tried.append(form.model_copy(update={"kept": why is None}))
            if why is None:
                break
            left_out.append(f"ONNX in {precision} is left out: {why}.")
        else:
            shutil.rmtree(onnx_dir)
    except ExportError as error:
        shutil.rmtree(onnx_dir, ignore_errors=True)
        left_out.append(f"ONNX is left out, and the transformers form is what serves: {error}.")
    finally:
        shutil.rmtree(workshop)
    return tuple(tried), tuple(left_out)


def _try(onnx_dir: Path, precision: str, reference: Reference) -> OnnxExport:
    """Let a process without torch serve the directory as it stands."""
    said = ask_without_torch(onnx_dir, reference.texts)
    pairs = list(zip(reference.answers, said.labels, strict=True))
    return OnnxExport(
        file=f"{ONNX_DIR}/{MODEL_FILE}",
        precision=precision,
        size_bytes=size_in_bytes(onnx_dir),
        agreement=sum(own == other for own, other in pairs) / len(pairs),
        val_f1_macro=reference.f1_macro(list(said.labels)),
        load_seconds=said.load_seconds,
        latency_ms_p50=said.latency_ms_p50,
        latency_ms_p95=said.latency_ms_p95,
        rows_per_second=said.rows_per_second,
    )


def _shortcoming(form: OnnxExport, reference: Reference, config: DeploymentConfig) -> str | None:
    """Why a form can't take the checkpoint's place; None: it can."""
    if form.agreement < MIN_AGREEMENT:
        return (
            f"it gives the checkpoint's label to {100 * form.agreement:.1f} % of "
            f"{len(reference.texts):,} val rows, and {100 * MIN_AGREEMENT:.1f} % are asked for"
        )
    loss = reference.f1_macro(reference.answers) - form.val_f1_macro
    if form.precision == INT8 and loss > config.max_int8_loss:
        return (
            f"val macro-F1 falls by {loss:.4f}, and deployment.max_int8_loss allows "
            f"{config.max_int8_loss:.4f}"
        )
    return None


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
