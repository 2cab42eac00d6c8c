"""The pictures of a report: one function per picture, and `draw_pictures` for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlrun_assets.errors import count
from mlrun_assets.files import write_atomically
from mlrun_assets.records import (
    BaselineRecord,
    Calibration,
    CheckpointRecord,
    DatasetRecord,
    EpochMetrics,
    ReliabilityBin,
    RunRecords,
    Scores,
    SplitProfile,
)
from mlrun_assets.reports.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SPLIT_COLOURS,
    font_families,
    new_figure,
    picture_names,
    style,
    to_png,
)
from mlrun_assets.reports.formatting import clean, integer, number, percent

MOST_LABELS = 30


def draw_labels(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Rows of each label by split, largest label of train on top."""
    names = dict(zip(dataset.labels, picture_names(dataset.labels, families), strict=True))
    profile = dataset.splits.get("train")
    train = profile.label_rows if profile else {}
    labels = sorted(dataset.labels, key=lambda label: -train.get(label, 0))[:MOST_LABELS]
    figure = new_figure(1.1 + 0.27 * max(4, len(labels)))
    panels = figure.subplots(1, len(dataset.splits), sharey=True, squeeze=False)[0]
    for axes, (split, profile) in zip(panels, dataset.splits.items(), strict=True):
        _label_bars(axes, split, [profile.label_rows.get(label, 0) for label in labels])
    panels[0].set_yticks(range(len(labels)), [names[label] for label in labels])
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    if len(labels) < len(dataset.labels):
        figure.suptitle(
            f"The {len(labels)} largest of {count(len(dataset.labels), 'label')}", size=10
        )
    return figure


def _label_bars(axes: Any, split: str, rows: list[int]) -> None:
    bars = axes.barh(range(len(rows)), rows, color=SPLIT_COLOURS.get(split, GREY), height=0.72)
    axes.bar_label(bars, labels=[integer(value) for value in rows], padding=3, size=9)
    axes.set_title(split)
    axes.set_xlabel("rows")
    axes.set_xlim(0, 1.25 * max([1, *rows]))
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4, integer=True)


def draw_lengths(dataset: DatasetRecord) -> Any:
    """Median and 95th percentile of tokens per text by split, and the limit of the model."""
    figure = new_figure(0.95 + 0.5 * len(dataset.splits))
    axes = figure.subplots()
    for place, (split, profile) in enumerate(dataset.splits.items()):
        _range(axes, place, SPLIT_COLOURS.get(split, GREY), profile)
    axes.axvline(dataset.max_length, color=RED, linestyle="--", linewidth=1.4)
    axes.annotate(
        f"limit of the model: {count(dataset.max_length, 'token')}",
        (dataset.max_length, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 2),
        textcoords="offset points",
        color=RED,
        size=9,
    )
    longest = max(split.tokens_p95 for split in dataset.splits.values())
    axes.set_xlim(0, 1.3 * max(longest, dataset.max_length))
    axes.set_ylim(len(dataset.splits) - 0.4, -0.6)
    axes.set_yticks(range(len(dataset.splits)), list(dataset.splits))
    axes.set_xlabel("tokens per text (dot: median, bar: up to the 95th percentile)")
    axes.tick_params(axis="y", length=0)
    return figure


def _range(axes: Any, place: int, colour: str, profile: SplitProfile) -> None:
    median, p95 = profile.tokens_median, profile.tokens_p95
    axes.plot([median, p95], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
    axes.plot([median], [place], "o", color=colour, markersize=11, markeredgecolor="white")
    axes.annotate(
        f"{number(median)} to {number(p95)}; {percent(profile.truncated_fraction)} truncated",
        (p95, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        size=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )


def draw_fit(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Tokens per word in the training texts of each label, highest on top."""
    names = dict(zip(dataset.labels, picture_names(dataset.labels, families), strict=True))
    fits = dataset.splits["train"].tokens_per_word_by_label
    labels = sorted((label for label in dataset.labels if label in fits), key=lambda at: -fits[at])
    labels = labels[:MOST_LABELS]
    figure = new_figure(1.1 + 0.27 * max(4, len(labels)))
    axes = figure.subplots()
    values = [fits[label] for label in labels]
    bars = axes.barh(range(len(labels)), values, color=SPLIT_COLOURS["train"], height=0.72)
    axes.bar_label(bars, labels=[f"{value:.2f}" for value in values], padding=3, size=9)
    axes.set_yticks(range(len(labels)), [names[label] for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * max(1.0, *values))
    axes.set_xlabel("tokens per word, without special tokens")
    axes.tick_params(axis="y", length=0)
    return figure


MOST_COUNTS = 15
MOST_NAMES = 40
MOST_BARS = 30


def draw_training(checkpoint: CheckpointRecord, baseline: BaselineRecord | None) -> Any:
    """By epoch: losses on the left; on the right val macro-F1, beside the n-gram baseline."""
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
    """True labels as rows, predicted labels as columns, coloured by the share of the row."""
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
        text = integer(int(value))
        axes.text(column + 1, row + 1, text, ha="center", va="center", size=size, color=ink)


def _ink(share: float) -> str:
    if share == 0.0:
        return "#9AA6B1"
    return "white" if share > 0.55 else "#1C2024"


def draw_per_class(scores: Scores, families: Sequence[str]) -> Any:
    """F1 and rows of each label, best on top; of many labels the `MOST_BARS` lowest."""
    names = picture_names([label.label for label in scores.per_class], families)
    ordered = sorted(zip(names, scores.per_class, strict=True), key=lambda pair: -pair[1].f1)
    shown = ordered[-MOST_BARS:]
    figure = new_figure(1.1 + 0.27 * max(4, len(shown)))
    axes = figure.subplots()
    bars = axes.barh(range(len(shown)), [one.f1 for _, one in shown], color=BLUE, height=0.72)
    notes = [f"{one.f1:.2f}  ({count(one.support, 'row')})" for _, one in shown]
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
        axes.set_title(f"The {len(shown)} lowest of {count(len(ordered), 'label')}")
    return figure


def draw_reliability(calibration: Calibration) -> Any:
    """Accuracy by confidence, without and with the temperature; areas show rows."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, 2, sharey=True)
    raw = f"without temperature: error {calibration.error:.3f}"
    scaled = f"temperature {calibration.temperature:.2f}: error {calibration.error_scaled:.3f}"
    _reliability(panels[0], calibration.bins, BLUE, raw)
    _reliability(panels[1], calibration.bins_scaled, GREEN, scaled)
    panels[0].set_ylabel("accuracy")
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
    axes.annotate("above the line: underconfident\nbelow: overconfident", (0.03, 0.86), size=8.5)
    axes.set_title(title)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(-0.03, 1.05)
    rows = sum(each.rows for each in bins)
    axes.set_xlabel(f"confidence (areas: {count(rows, 'row')} in all)")
    axes.grid()


def draw_pictures(records: RunRecords, directory: Path) -> dict[str, Path]:
    """Draw the pictures for which there are records.

    Args:
        records: the records of the run.
        directory: the directory for the PNG files; each is written in one step.

    Returns:
        The files by name: ``labels``, ``lengths`` and ``fit`` with a dataset, ``training`` with a
        history, ``confusion``, ``per_class`` and ``reliability`` with an evaluation.
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
