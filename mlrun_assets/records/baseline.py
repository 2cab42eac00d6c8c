"""The n-gram baseline."""

from __future__ import annotations

from typing import ClassVar

from mlrun_assets.records.record import Record
from mlrun_assets.records.scores import Scores


class BaselineCandidate(Record):
    """One linear model that was tried."""

    name: str
    val_accuracy: float
    val_f1_macro: float
    seconds: float


class BaselineRecord(Record):
    """What a model that trains in seconds reaches."""

    asset: ClassVar[str] = "baseline_metrics"

    candidates: tuple[BaselineCandidate, ...]
    chosen: str
    majority_label: str
    majority: Scores
    linear: Scores
    predictions_file: str
    seconds: float
    model_dir: str | None = None
