"""How far probabilities can be believed."""

from __future__ import annotations

from mlrun_assets.records.record import Record


class ReliabilityBin(Record):
    """Rows whose confidence lies in one bin: how sure, and how right, the model is there.

    ``accuracy`` has Wilson's interval; None: it was recorded before it had one.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    accuracy_low: float | None = None
    accuracy_high: float | None = None


class ErrorByChance(Record):
    """The calibration error of a perfectly calibrated model on as many rows, as sure of each.

    ``p95``: it is larger in one test split of twenty.
    """

    mean: float
    p95: float


class Calibration(Record):
    """How far probabilities can be believed, on test; the temperature is fitted on val.

    Errors are expected calibration errors, Brier scores sums over the labels (0 to 2). What is
    ``scaled`` is after division of the logits by the temperature; the bins are before. ``chance``
    is what the errors are to be held against; None: it was recorded before that was known.
    """

    temperature: float
    error: float
    error_scaled: float
    brier: float
    brier_scaled: float
    bins: tuple[ReliabilityBin, ...]
    bins_scaled: tuple[ReliabilityBin, ...]
    chance: ErrorByChance | None = None
    chance_scaled: ErrorByChance | None = None
