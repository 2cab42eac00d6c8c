"""The reliability diagram: how often the model is right when it says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlrun_assets.records import Calibration, ReliabilityBin
from mlrun_assets.reporting.canvas import BLUE, GREEN, GREY, new_figure
from mlrun_assets.reporting.formats import count


def draw_reliability(calibration: Calibration) -> Any:
    """Accuracy by confidence, as the model says it and with the temperature; rows as areas."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, 2, sharey=True)
    raw = f"as the model says it: error {calibration.error:.3f}"
    scaled = f"temperature {calibration.temperature:.2f}: error {calibration.error_scaled:.3f}"
    _reliability(panels[0], calibration.bins, BLUE, raw)
    _reliability(panels[1], calibration.bins_scaled, GREEN, scaled)
    panels[0].set_ylabel("share that is right")
    return figure


def _reliability(axes: Any, bins: Sequence[ReliabilityBin], colour: str, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
    most = max((each.rows for each in bins), default=1)
    for each in bins:
        axes.plot([each.confidence] * 2, [each.confidence, each.accuracy], color=colour, alpha=0.4)
    axes.scatter(
        [each.confidence for each in bins],
        [each.accuracy for each in bins],
        s=[30 + 270 * each.rows / most for each in bins],
        color=colour,
        alpha=0.85,
    )
    axes.annotate(
        "above the line: less sure than it could be\nbelow: too sure", (0.03, 0.86), size=8.5
    )
    axes.set_title(title)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel(f"confidence (area: rows, {count(sum(each.rows for each in bins))} in all)")
    axes.grid()
