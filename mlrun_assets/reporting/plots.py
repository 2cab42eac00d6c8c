"""The pictures of a report, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlrun_assets.files import write_atomically
from mlrun_assets.records import RunRecords
from mlrun_assets.reporting.calibration_plots import draw_reliability
from mlrun_assets.reporting.canvas import style, thumbnail, to_png
from mlrun_assets.reporting.data_plots import draw_fit, draw_labels, draw_lengths
from mlrun_assets.reporting.escaping import clean
from mlrun_assets.reporting.lettering import font_families
from mlrun_assets.reporting.score_plots import draw_confusion, draw_per_class, draw_training

__all__ = ["draw_pictures", "thumbnail"]


def draw_pictures(records: RunRecords, directory: Path) -> dict[str, Path]:
    """Draw what the records allow.

    Args:
        records: what is known about the run.
        directory: where the PNG files go; each is written in one step.

    Returns:
        The files by the pictures' names: ``labels``, ``lengths`` and ``fit`` once there is a
        dataset, ``training`` once there is a history, ``confusion``, ``per_class`` and
        ``reliability`` once there is an evaluation.
    """
    families = font_families(clean(label) for label in _labels(records))
    paths = {}
    with style(families):
        for name, figure in _figures(records, families).items():
            paths[name] = directory / f"{name}.png"
            write_atomically(paths[name], to_png(figure))
    return paths


def _labels(records: RunRecords) -> tuple[str, ...]:
    if records.evaluation:
        return records.evaluation.labels
    return records.dataset.labels if records.dataset else ()


def _figures(records: RunRecords, families: list[str]) -> dict[str, Any]:
    figures = {}
    if records.evaluation:
        figures["confusion"] = draw_confusion(records.evaluation.test, families)
        figures["per_class"] = draw_per_class(records.evaluation.test, families)
        if records.evaluation.calibration:
            figures["reliability"] = draw_reliability(records.evaluation.calibration)
    if records.checkpoint and records.checkpoint.history:
        figures["training"] = draw_training(records.checkpoint, records.baseline)
    if records.dataset and records.dataset.splits:
        figures["labels"] = draw_labels(records.dataset, families)
        figures["lengths"] = draw_lengths(records.dataset)
        train = records.dataset.splits.get("train")
        if train and train.tokens_per_word_by_label:
            figures["fit"] = draw_fit(records.dataset, families)
    return figures
