"""The exported model and its ONNX forms."""

from __future__ import annotations

from typing import ClassVar

from mlrun_assets.records.record import Record

MIN_AGREEMENT = 0.995
"""Share of rows on which an exported form must give the checkpoint's label."""


class OnnxExport(Record):
    """One ONNX form of the model, as a process without torch saw it.

    ``file`` is relative to the model's directory, where the form is ``kept``; one that is not was
    tried only. The size is that of all that serves it. ``agreement`` is with the checkpoint's
    labels on val; the latency is that of one text.
    """

    file: str
    precision: str
    size_bytes: int
    agreement: float
    val_f1_macro: float
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float
    kept: bool = True


class ExportRecord(Record):
    """What would be deployed, as fresh processes saw it.

    The numbers are those of the transformers form; ``rows_per_second`` is of 64 texts. ``onnx`` are
    the ONNX forms that were tried, ``onnx_left_out`` says why one is not in the directory.
    """

    asset: ClassVar[str] = "exported_model"

    model_dir: str
    digest: str
    size_bytes: int
    rows_compared: int
    agreement: float
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float | None = None
    onnx: tuple[OnnxExport, ...] = ()
    onnx_left_out: tuple[str, ...] = ()

    @property
    def kept_onnx(self) -> OnnxExport | None:
        """The ONNX form that lies in the directory; None: there is none."""
        return next((form for form in self.onnx if form.kept), None)
