"""The pictures of a report: one function per picture, and `draw_pictures` for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlrun_assets.errors import count
from mlrun_assets.files import digest_bytes, write_atomically
from mlrun_assets.markdown import clean
from mlrun_assets.records import (
    AcceptedRows,
    BaselineRecord,
    Calibration,
    DatasetRecord,
    EpochMetrics,
    FineTuningRecord,
    ReliabilityBin,
    RunRecords,
    Scores,
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
from mlrun_assets.reports.formatting import integer, number, percent

MOST_LABELS = 30
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def _bars_figure(bars: int) -> Any:
    """A figure that is high enough for horizontal bars."""
    return new_figure(1.1 + 0.27 * max(4, bars))


def _bars(
    axes: Any, names: Sequence[str], values: Sequence[float], colour: str, **label: Any
) -> None:
    """Horizontal bars, the first on top; ``label`` is the text and look of their labels."""
    bars = axes.barh(range(len(names)), values, color=colour, height=0.72)
    axes.bar_label(bars, size=9, **label)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def draw_labels(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Rows of each label by split, largest label of train on top."""
    train = dataset.splits["train"].label_rows
    pairs = zip(dataset.labels, picture_names(dataset.labels, families), strict=True)
    shown = sorted(pairs, key=lambda pair: -train.get(pair[0], 0))[:MOST_LABELS]
    figure = _bars_figure(len(shown))
    panels = figure.subplots(1, len(dataset.splits), sharey=True, squeeze=False)[0]
    for axes, (split, profile) in zip(panels, dataset.splits.items(), strict=True):
        rows = [profile.label_rows.get(label, 0) for label, _ in shown]
        names = [name for _, name in shown]
        _bars(axes, names, rows, SPLIT_COLOURS[split], labels=map(integer, rows), padding=3)
        axes.set_title(split)
        axes.set_xlabel("rows")
        axes.set_xlim(0, 1.25 * max([1, *rows]))
        axes.locator_params(axis="x", nbins=4, integer=True)
    if len(shown) < len(dataset.labels):
        total = count(len(dataset.labels), "label")
        figure.suptitle(f"The {len(shown)} largest of {total}", size=10)
    return figure


def draw_lengths(dataset: DatasetRecord) -> Any:
    """Median and 95th percentile of tokens per text by split, and the limit of the model."""
    figure = new_figure(0.95 + 0.5 * len(dataset.splits))
    axes = figure.subplots()
    for place, (split, profile) in enumerate(dataset.splits.items()):
        median, p95, colour = profile.tokens_median, profile.tokens_p95, SPLIT_COLOURS[split]
        axes.plot([median, p95], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
        axes.plot([median], [place], "o", color=colour, markersize=11, markeredgecolor="white")
        axes.annotate(
            f"{number(median)} to {number(p95)}; {percent(profile.truncated_fraction)} truncated",
            (p95, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            size=9,
            bbox=_PAPER,
        )
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


def draw_fit(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Tokens per word in the training texts of each label, highest on top."""
    fits = dataset.splits["train"].tokens_per_word_by_label
    pairs = zip(dataset.labels, picture_names(dataset.labels, families), strict=True)
    shown = sorted((pair for pair in pairs if pair[0] in fits), key=lambda pair: -fits[pair[0]])
    shown = shown[:MOST_LABELS]
    figure = _bars_figure(len(shown))
    axes = figure.subplots()
    values = [fits[label] for label, _ in shown]
    notes = [f"{value:.2f}" for value in values]
    names = [name for _, name in shown]
    _bars(axes, names, values, SPLIT_COLOURS["train"], labels=notes, padding=3)
    axes.set_xlim(0, 1.25 * max(1.0, *values))
    axes.set_xlabel("tokens per word, without special tokens")
    return figure


MOST_COUNTS = 15
MOST_NAMES = 40
MOST_BARS = 30


def draw_training(tuned: FineTuningRecord, baseline: BaselineRecord | None) -> Any:
    """By epoch: losses on the left; on the right val macro-F1, and that of the n-grams."""
    figure = new_figure(3.1)
    losses, scores = figure.subplots(1, 2)
    history = tuned.history
    trained = [epoch for epoch in history if epoch.train_loss is not None]
    _curve(losses, trained, "train_loss", ORANGE, "train")
    _curve(losses, history, "val_loss", BLUE, "val")
    losses.set_title("loss")
    losses.legend(loc="best")
    _curve(scores, history, "val_f1_macro", GREEN, "encoder")
    scores.set_title("val macro-F1")
    if baseline:
        tried = {each.name: each.f1_macro for each in baseline.candidates}
        value = tried[baseline.chosen]
        label = f"n-grams, cross-validated, {value:.3f}"
        scores.axhline(value, color=GREY, linestyle="--", linewidth=1.4, label=label)
    best = next((epoch for epoch in history if epoch.epoch == tuned.best_epoch), None)
    if best:
        label = f"best: epoch {best.epoch:g}, {best.val_f1_macro:.3f}"
        scores.plot(best.epoch, best.val_f1_macro, "*", color=RED, markersize=14, label=label)
        losses.axvline(best.epoch, color=RED, linewidth=1.2, linestyle=":")
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


def draw_confusion(scores: Scores, families: Sequence[str]) -> Any:
    """True labels as rows, predicted labels as columns, coloured by the share of the row."""
    import numpy as np

    names = picture_names([label.label for label in scores.per_class], families)
    counts = np.asarray(scores.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = new_figure(7.0 if len(names) > 8 else 4.6)
    axes = figure.subplots()
    last = len(names) + 0.5  # places count from 1, as in the report's table
    extent = (0.5, last, last, 0.5)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto", extent=extent)
    figure.colorbar(image, ax=axes, label="share of the true label's rows", shrink=0.8)
    if len(names) <= MOST_COUNTS:
        _write_counts(axes, counts, shares)
    named = len(names) <= MOST_NAMES
    if named:
        _write_names(axes, names)
    axes.set_xlabel("predicted label" if named else "predicted label, by number")
    axes.set_ylabel("true label" if named else "true label, by number")
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
        share, text = shares[row, column], integer(int(value))
        ink = "#9AA6B1" if share == 0.0 else "white" if share > 0.55 else "#1C2024"
        axes.text(column + 1, row + 1, text, ha="center", va="center", size=size, color=ink)


def draw_per_class(scores: Scores, families: Sequence[str]) -> Any:
    """F1 and rows of each label, best on top; of many labels the `MOST_BARS` lowest."""
    names = picture_names([label.label for label in scores.per_class], families)
    ordered = sorted(zip(names, scores.per_class, strict=True), key=lambda pair: -pair[1].f1)
    shown = ordered[-MOST_BARS:]
    figure = _bars_figure(len(shown))
    axes = figure.subplots()
    notes = [f"{one.f1:.2f}  ({count(one.support, 'row')})" for _, one in shown]
    values = [one.f1 for _, one in shown]
    names = [name for name, _ in shown]
    _bars(axes, names, values, BLUE, labels=notes, padding=4, bbox=_PAPER)
    macro = scores.f1_macro.value
    axes.axvline(macro, color=RED, linestyle="--", linewidth=1.4, label=f"macro-F1 {macro:.3f}")
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_xlabel("F1 on the test split (rows of the label in brackets)")
    figure.legend(loc="outside upper right")
    if len(shown) < len(ordered):
        axes.set_title(f"The {len(shown)} lowest of {count(len(ordered), 'label')}")
    return figure


def draw_reliability(calibration: Calibration, curve: Sequence[AcceptedRows]) -> Any:
    """Accuracy by confidence, where areas show rows; precision by the share of accepted rows."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, 2, sharey=True)
    _reliability(panels[0], calibration.bins, BLUE, f"calibration error {calibration.error:.3f}")
    panels[0].set_ylabel("accuracy")
    points = [(each.coverage.value, each.precision) for each in curve if each.precision]
    shares = [share for share, _ in points]
    panels[1].plot(shares, [each.value for _, each in points], color=GREEN, marker="o")
    bounds = [each.low for _, each in points], [each.high for _, each in points]
    panels[1].fill_between(shares, *bounds, color=GREEN, alpha=0.2)
    panels[1].set_title("accuracy of the rows with the highest confidence")
    panels[1].set_xlabel("share of the rows (area: interval)")
    panels[1].set_xlim(0, 1.03)
    panels[1].grid()
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

    A picture holds the digest of what it shows: one that shows the same is not drawn again.

    Args:
        records: the records of the run.
        directory: the directory for the PNG files; each is written in one step.

    Returns:
        The files by name: ``labels``, ``lengths`` and ``fit`` with a dataset, ``training`` with a
        history, ``confusion``, ``per_class`` and ``reliability`` with an evaluation.
    """
    measured = records.evaluation or records.dataset
    labels = [clean(label) for label in measured.labels] if measured else []
    paths = {}
    for name, (draw, shown) in _drawings(records).items():
        paths[name] = file = directory / f"{name}.png"
        digest = digest_bytes(repr((name, labels, shown)).encode())
        if not (file.exists() and digest.encode() in file.read_bytes()):
            families = font_families(labels)
            with style(families):
                write_atomically(file, to_png(draw(families), digest))
    return paths


def _drawings(records: RunRecords) -> dict[str, tuple[Callable[[list[str]], Any], object]]:
    """By name: the function that draws the picture, given the fonts, and what it shows."""
    drawings: dict[str, tuple[Callable[[list[str]], Any], object]] = {}
    evaluation, checkpoint, dataset = records.evaluation, records.checkpoint, records.dataset
    if evaluation:
        test, calibration = evaluation.test, evaluation.calibration
        drawings["confusion"] = partial(draw_confusion, test), test
        drawings["per_class"] = partial(draw_per_class, test), test
        curve = evaluation.coverage_curve
        drawings["reliability"] = (
            lambda _: draw_reliability(calibration, curve),
            (calibration, curve),
        )
    tuned, baseline = checkpoint and checkpoint.fine_tuning, records.baseline
    if tuned and tuned.history:
        drawings["training"] = lambda _: draw_training(tuned, baseline), (tuned, baseline)
    if dataset:
        drawings["labels"] = partial(draw_labels, dataset), dataset
        drawings["lengths"] = lambda _: draw_lengths(dataset), dataset
        if dataset.splits["train"].tokens_per_word_by_label:
            drawings["fit"] = partial(draw_fit, dataset), dataset
    return drawings
