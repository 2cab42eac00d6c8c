"""Pictures of the model: its training, its confusions, its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlrun_assets.records import BaselineRecord, CheckpointRecord, EpochMetrics, Scores
from mlrun_assets.reporting.canvas import BLUE, GREEN, GREY, ORANGE, RED, new_figure
from mlrun_assets.reporting.formats import count
from mlrun_assets.reporting.lettering import picture_names

MOST_COUNTS = 15
MOST_NAMES = 40
MOST_BARS = 30


def draw_training(checkpoint: CheckpointRecord, baseline: BaselineRecord | None) -> Any:
    """Losses on the left, val macro-F1 beside the n-gram baseline's on the right, by epoch."""
    figure = new_figure(3.1)
    losses, scores = figure.subplots(1, 2)
    history = checkpoint.history
    trained = [epoch for epoch in history if epoch.train_loss is not None]
    _curve(losses, trained, "train_loss", ORANGE, "train")
    _curve(losses, history, "val_loss", BLUE, "val")
    losses.set_title("loss")
    losses.legend(loc="best")
    _curve(scores, history, "val_f1_macro", GREEN, "model")
    scores.set_title("val macro-F1")
    if baseline:
        _baseline_line(scores, baseline)
    best = [epoch for epoch in history if epoch.epoch == checkpoint.best_epoch]
    for epoch in best[:1]:
        label = f"best: epoch {epoch.epoch:g}, {epoch.val_f1_macro:.3f}"
        scores.plot(epoch.epoch, epoch.val_f1_macro, "*", color=RED, markersize=14, label=label)
        losses.axvline(epoch.epoch, color=RED, linewidth=1.2, linestyle=":")
    scores.legend(loc="best")
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y")
    return figure


def _curve(axes: Any, history: Sequence[EpochMetrics], field: str, colour: str, label: str) -> None:
    epochs = [epoch.epoch for epoch in history]
    values = [getattr(epoch, field) for epoch in history]
    axes.plot(epochs, values, marker="o", markersize=4, color=colour, label=label)


def _baseline_line(axes: Any, baseline: BaselineRecord) -> None:
    for candidate in baseline.candidates:
        if candidate.name == baseline.chosen:
            value = candidate.val_f1_macro
            label = f"n-gram baseline, {value:.3f}"
            axes.axhline(value, color=GREY, linestyle="--", linewidth=1.4, label=label)


def draw_confusion(scores: Scores, families: Sequence[str]) -> Any:
    """True labels as rows, predictions as columns, coloured by the share of the row."""
    import numpy as np

    names = picture_names([label.label for label in scores.per_class], families)
    counts = np.asarray(scores.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = new_figure(7.0 if len(names) > 8 else 4.6)
    axes = figure.subplots()
    last = len(names) + 0.5  # places count from 1, as in the report's table
    image = axes.imshow(
        shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto", extent=(0.5, last, last, 0.5)
    )
    figure.colorbar(image, ax=axes, label="share of the true label's rows", shrink=0.8)
    if len(names) <= MOST_COUNTS:
        _write_counts(axes, counts, shares)
    if len(names) <= MOST_NAMES:
        _write_names(axes, names)
    axes.set_xlabel("predicted label" if len(names) <= MOST_NAMES else "predicted label, by number")
    axes.set_ylabel("true label" if len(names) <= MOST_NAMES else "true label, by number")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _write_names(axes: Any, names: Sequence[str]) -> None:
    places = range(1, len(names) + 1)
    size = 10 if len(names) <= MOST_COUNTS else 7
    axes.set_yticks(places, names, size=size)
    if len(names) * max(map(len, names)) <= 50:
        axes.set_xticks(places, names, size=size)
    else:
        axes.set_xticks(places, names, size=size, rotation=45, ha="right", rotation_mode="anchor")


def _write_counts(axes: Any, counts: Any, shares: Any) -> None:
    import numpy as np

    size = 10 if len(counts) <= 10 else 8
    for (row, column), value in np.ndenumerate(counts):
        ink = _ink(shares[row, column])
        text = count(int(value))
        axes.text(column + 1, row + 1, text, ha="center", va="center", size=size, color=ink)


def _ink(share: float) -> str:
    if share == 0.0:
        return "#9AA6B1"
    return "white" if share > 0.55 else "#1C2024"


def draw_per_class(scores: Scores, families: Sequence[str]) -> Any:
    """F1 of each label with its number of rows, the best on top; the lowest of many."""
    names = picture_names([label.label for label in scores.per_class], families)
    ordered = sorted(zip(names, scores.per_class, strict=True), key=lambda pair: -pair[1].f1)
    shown = ordered[-MOST_BARS:]
    figure = new_figure(1.1 + 0.27 * max(4, len(shown)))
    axes = figure.subplots()
    bars = axes.barh(range(len(shown)), [one.f1 for _, one in shown], color=BLUE, height=0.72)
    notes = [f"{one.f1:.2f}  ({count(one.support)} rows)" for _, one in shown]
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.bar_label(bars, labels=notes, padding=4, size=9, bbox=paper)
    macro = scores.f1_macro.value
    axes.axvline(macro, color=RED, linestyle="--", linewidth=1.4, label=f"macro-F1 {macro:.3f}")
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_xlabel("F1 on the test split (rows of the label in brackets)")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right")
    if len(shown) < len(ordered):
        axes.set_title(f"The {len(shown)} lowest of {len(ordered):,} labels")
    return figure
