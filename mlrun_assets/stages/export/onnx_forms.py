"""The ONNX forms of a model: the smallest that answers like its checkpoint is kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from mlrun_assets.arrays import LabelIds
from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import ExportError
from mlrun_assets.files import size_in_bytes
from mlrun_assets.metrics import label_numbers, val_metrics
from mlrun_assets.onnx_form.directory import MODEL_FILE, add_what_serves
from mlrun_assets.onnx_form.probe import ask_without_torch
from mlrun_assets.records import MIN_AGREEMENT, OnnxExport

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
        from mlrun_assets.trainer.prediction import Predictor

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
    from mlrun_assets.onnx_form.int8 import write_int8
    from mlrun_assets.onnx_form.writing import write_float32

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
