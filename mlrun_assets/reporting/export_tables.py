"""The forms in which a model was exported, side by side."""

from __future__ import annotations

from mlrun_assets.records import ExportRecord
from mlrun_assets.reporting.escaping import Markdown, escape
from mlrun_assets.reporting.formats import megabytes, number, percent, score, seconds
from mlrun_assets.reporting.tables import table

HEADINGS = [
    "form",
    "in the directory",
    ">size",
    ">loads in",
    ">median latency ms",
    ">p95 latency ms",
    ">rows/s of 64",
    ">agreement",
    ">val macro-F1",
]


def forms_table(export: ExportRecord) -> Markdown:
    """The transformers form and each ONNX form that was tried; the latency is that of one text."""
    rows_per_second = export.rows_per_second
    transformers = [
        Markdown("transformers"),
        Markdown("yes"),
        megabytes(export.size_bytes),
        seconds(export.load_seconds),
        number(export.latency_ms_p50),
        number(export.latency_ms_p95),
        number(rows_per_second and round(rows_per_second, 1)),
        percent(export.agreement),
        score(None),
    ]
    others = [
        [
            Markdown(f"ONNX {escape(form.precision)}"),
            Markdown("yes" if form.kept else "no"),
            megabytes(form.size_bytes),
            seconds(form.load_seconds),
            number(form.latency_ms_p50),
            number(form.latency_ms_p95),
            number(round(form.rows_per_second, 1)),
            percent(form.agreement),
            score(form.val_f1_macro),
        ]
        for form in export.onnx
    ]
    return table(HEADINGS, [transformers, *others])
