"""Pictures of the data: rows of each label, lengths of the texts, tokens of a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlrun_assets.records import DatasetRecord, SplitProfile
from mlrun_assets.reporting.canvas import GREY, RED, SPLIT_COLOURS, new_figure
from mlrun_assets.reporting.formats import count, number, percent
from mlrun_assets.reporting.lettering import picture_names

MOST_LABELS = 30


def draw_labels(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Rows of each label by split, the largest label of train on top."""
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
        figure.suptitle(f"The {len(labels)} largest of {len(dataset.labels):,} labels", size=10)
    return figure


def _label_bars(axes: Any, split: str, rows: list[int]) -> None:
    bars = axes.barh(range(len(rows)), rows, color=SPLIT_COLOURS.get(split, GREY), height=0.72)
    axes.bar_label(bars, labels=[count(value) for value in rows], padding=3, size=9)
    axes.set_title(split)
    axes.set_xlabel("rows")
    axes.set_xlim(0, 1.25 * max([1, *rows]))
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4, integer=True)


def draw_lengths(dataset: DatasetRecord) -> Any:
    """Median and 95th percentile of the texts' tokens by split, beside the model's limit."""
    figure = new_figure(0.95 + 0.5 * len(dataset.splits))
    axes = figure.subplots()
    for place, (split, profile) in enumerate(dataset.splits.items()):
        _range(axes, place, SPLIT_COLOURS.get(split, GREY), profile)
    axes.axvline(dataset.max_length, color=RED, linestyle="--", linewidth=1.4)
    axes.annotate(
        f"the model reads {count(dataset.max_length)} tokens",
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
    axes.set_xlabel("tokens of a text (dot: median, bar: up to the 95th percentile)")
    axes.tick_params(axis="y", length=0)
    return figure


def _range(axes: Any, place: int, colour: str, profile: SplitProfile) -> None:
    median, p95 = profile.tokens_median, profile.tokens_p95
    axes.plot([median, p95], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
    axes.plot([median], [place], "o", color=colour, markersize=11, markeredgecolor="white")
    axes.annotate(
        f"{number(median)} to {number(p95)}; {percent(profile.truncated_fraction)} cut",
        (p95, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        size=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )


def draw_fit(dataset: DatasetRecord, families: Sequence[str]) -> Any:
    """Tokens of a word in the training texts of each label, the worst on top."""
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
    axes.set_xlabel("tokens of a word, without those that every text gets")
    axes.tick_params(axis="y", length=0)
    return figure
