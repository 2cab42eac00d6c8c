"""The pictures of a report: one function per picture, and `draw_pictures` for all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlrun_assets.files import write_atomically
from mlrun_assets.records import (
    AcceptedRows,
    BaselineRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    FineTuningRecord,
    RunRecords,
    Score,
    Scores,
)
from mlrun_assets.reports.figure import ROW, WIDTH, Picture, Scale, names_width, short_names
from mlrun_assets.reports.formatting import integer

MOST_LABELS = 30
MOST_CONFUSED = 12


class _Measured(NamedTuple):
    """One model in the forest plot: its name, colour and score."""

    name: str
    colour: str
    score: Score


def draw_forest(evaluation: EvaluationRecord, decision: DecisionRecord | None) -> str:
    """Accuracy and F1 of this model, the n-gram baseline and production, beside the minimum."""
    test, limits = evaluation.test, {}
    if decision:
        limits = {rule.rule: rule.limit for rule in decision.rules}
    panels = [
        ("Accuracy", limits.get("min_accuracy"), _models(evaluation, test.accuracy, "accuracy")),
        (
            f"{evaluation.f1_kind}-F1",
            limits.get("min_f1"),
            _models(evaluation, evaluation.f1, "f1"),
        ),
    ]
    ends = [end for _, _, rows in panels for row in rows for end in (row.score.low, row.score.high)]
    ends += [limit for _, limit, _ in panels if limit is not None]
    names = [row.name for _, _, rows in panels for row in rows]
    x = Scale.around(ends, min(names_width(names) + 16, 190), WIDTH - 60)
    picture, y = Picture("Scores of the models beside the required minimum"), 18.0
    for title, limit, rows in panels:
        bottom = y + 16 + ROW * len(rows)
        picture.text((0, y), title, weight=600)
        if limit is not None:
            place = x(limit)
            line = ((place, y + 6), (place, bottom))
            picture.line(line, "red", stroke_width=2, stroke_dasharray="5 4")
            anchor = "end" if place > 0.7 * WIDTH else "middle"
            picture.text((place, y), f"minimum {limit:.3g}", "red", text_anchor=anchor)
        for number, row in enumerate(rows):
            _draw_measured(picture, row, x, y + 28 + ROW * number, first=number == 0)
        y = bottom + 30
    _x_axis(picture, x, y - 22)
    return picture.svg(y + 4)


def _models(evaluation: EvaluationRecord, own: Score, kind: str) -> list[_Measured]:
    rows = [_Measured("this model", "blue", own)]
    for name, other in (
        ("n-gram baseline", evaluation.baseline),
        ("production", evaluation.production),
    ):
        found: Score | None = getattr(other, f"other_{kind}", None)
        if found:
            rows.append(_Measured(name, "quiet", found))
    return rows


def _draw_measured(picture: Picture, row: _Measured, x: Scale, y: float, *, first: bool) -> None:
    weight = 600 if first else 400
    value, low, high = (x(each) for each in (row.score.value, row.score.low, row.score.high))
    picture.text((0, y + 5), row.name, weight=weight)
    picture.line(((low, y), (high, y)), row.colour, stroke_width=3)
    if first:
        picture.shape("circle", row.colour, cx=value, cy=y, r=7)
    else:
        picture.shape("rect", row.colour, x=value - 6, y=y - 6, width=12, height=12)
    place = (WIDTH, y + 5)
    picture.text(place, f"{row.score.value:.3f}", text_anchor="end", weight=weight)


def _x_axis(picture: Picture, x: Scale, y: float, words: str = "") -> None:
    """A line at ``y`` with ticks, their values below it, and below them ``words``."""
    picture.line(((x.start, y), (x.end, y)), "line")
    for tick in x.ticks():
        picture.line(((x(tick), y), (x(tick), y + 5)), "line")
        picture.text((x(tick), y + 20), f"{tick:.3g}", "quiet", text_anchor="middle")
    picture.text(((x.start + x.end) / 2, y + 38), words, "quiet", text_anchor="middle")


def _y_axis(picture: Picture, y: Scale, left: float, right: float) -> None:
    for tick in y.ticks():
        picture.line(((left, y(tick)), (right, y(tick))), "line")
        picture.text((left - 6, y(tick) + 5), f"{tick:.3g}", "quiet", text_anchor="end")


def draw_confusion(scores: Scores) -> str:
    """Rows are true labels, columns predicted ones; of many, the labels with the most errors."""
    counts, names = scores.confusion, short_names([one.label for one in scores.per_class])
    errors = [
        sum(row) + sum(each[place] for each in counts) - 2 * row[place]
        for place, row in enumerate(counts)
    ]
    shown = sorted(sorted(range(len(names)), key=lambda one: -errors[one])[:MOST_CONFUSED])
    left = min(names_width(names[one] for one in shown) + 16, 200)
    cell = min((WIDTH - left) / len(shown), 110)
    height, top = min(cell, 46), 26.0
    picture = Picture("Confusion matrix")
    picture.text((left, 16), "predicted label →", "quiet")
    picture.text((left - 10, 16), "true ↓", "quiet", text_anchor="end")
    for down, row in enumerate(shown):
        middle = top + height * (down + 0.5) + 5
        picture.text((left - 10, middle), names[row], text_anchor="end")
        for across, column in enumerate(shown):
            rows, share = counts[row][column], counts[row][column] / max(1, sum(counts[row]))
            x = left + cell * across
            place = {"x": x + 1, "y": top + height * down + 1}
            opacity = round(max(share, 0.04), 3)
            facts = {"width": cell - 2, "height": height - 2, "fill_opacity": opacity}
            picture.shape("rect", "blue", **place, **facts)
            ink = "page" if share > 0.6 else "ink" if rows else "quiet"
            picture.text((x + cell / 2, middle), integer(rows), ink, text_anchor="middle")
    bottom = top + height * len(shown) + 18
    narrow = max(names_width([names[one]]) for one in shown) > cell
    for across, column in enumerate(shown):
        x = left + cell * (across + 0.5)
        turn = f"rotate(-35 {x:.0f} {bottom:.0f})" if narrow else ""
        anchor = "end" if narrow else "middle"
        picture.text((x, bottom), names[column], text_anchor=anchor, transform=turn)
    return picture.svg(bottom + (0.62 * names_width(names[one] for one in shown) if narrow else 8))


def draw_coverage(curve: Sequence[AcceptedRows]) -> str:
    """Accuracy of the test rows with the highest confidence, by their share."""
    points = [(each.coverage.value, each.precision) for each in curve if each.precision]
    x = Scale.around((0.0, 100.0), 50, WIDTH - 16)
    y = Scale.around([1.0, *(each.low for _, each in points)], 176, 12, 36)
    picture = Picture("Accuracy by the share of rows that are accepted")
    _y_axis(picture, y, x.start, x.end)
    band = [(x(100 * share), y(each.high)) for share, each in points]
    band += [(x(100 * share), y(each.low)) for share, each in reversed(points)]
    drawn = " ".join(f"{across:.1f},{down:.1f}" for across, down in band)
    picture.shape("polygon", "blue", points=drawn, fill_opacity=0.2)
    line = [(x(100 * share), y(each.value)) for share, each in points]
    picture.line(line, "blue", stroke_width=2.5)
    _x_axis(picture, x, 180, "% of the rows, those with the highest confidence first")
    return picture.svg(226)


# By name: the colour of a curve, and its points.
_Curves = dict[str, tuple[str, list[tuple[float, float | None]]]]


def draw_training(tuned: FineTuningRecord, baseline: BaselineRecord | None) -> str:
    """By epoch: the losses on the left; on the right val macro-F1, and that of the n-grams."""
    picture, history = Picture("Loss and val macro-F1 by epoch"), tuned.history
    losses: _Curves = {
        "train": ("orange", [(epoch.epoch, epoch.train_loss) for epoch in history]),
        "val": ("blue", [(epoch.epoch, epoch.val_loss) for epoch in history]),
    }
    scores: _Curves = {"encoder": ("blue", [(one.epoch, one.val_f1_macro) for one in history])}
    if baseline:
        tried = {each.name: each.f1_macro for each in baseline.candidates}
        level = tried[baseline.chosen]
        scores["n-grams"] = ("quiet", [(epoch.epoch, level) for epoch in history])
    _curves(picture, "loss", losses, 40, 240)
    _curves(picture, "val macro-F1", scores, 310, 510)
    return picture.svg(236)


def _curves(picture: Picture, title: str, curves: _Curves, left: float, right: float) -> None:
    """A panel with a curve by epoch for each name."""
    finite = {
        name: (colour, [(when, v) for when, v in points if v is not None and math.isfinite(v)])
        for name, (colour, points) in curves.items()
    }
    found = [point for _, points in finite.values() for point in points]
    x = Scale.around([0.0, 1.0, *(when for when, _ in found)], left, right, 40)
    y = Scale.around([value for _, value in found], 184, 50, 36)
    picture.text((left, 16), title, weight=600)
    _y_axis(picture, y, left, right)
    for place, (name, (colour, points)) in enumerate(finite.items()):
        dash = "5 4" if colour == "quiet" else "none"
        places = [(x(when), y(value)) for when, value in points]
        picture.line(places, colour, stroke_width=2.5, stroke_dasharray=dash)
        start = left + 90 * place
        key = ((start, 32), (start + 20, 32))
        picture.line(key, colour, stroke_width=2.5, stroke_dasharray=dash)
        picture.text((start + 25, 37), name)
    _x_axis(picture, x, 188, "epoch")


def draw_labels(dataset: DatasetRecord) -> str:
    """Rows of each label by split, largest label of train on top."""
    train = dataset.splits["train"].label_rows
    pairs = zip(dataset.labels, short_names(dataset.labels), strict=True)
    shown = sorted(pairs, key=lambda pair: -train.get(pair[0], 0))[:MOST_LABELS]
    left = min(names_width(name for _, name in shown) + 16, 200)
    panel = (WIDTH - left) / len(dataset.splits)
    picture = Picture("Rows of each label by split")
    for across, (split, profile) in enumerate(dataset.splits.items()):
        rows = [profile.label_rows.get(label, 0) for label, _ in shown]
        start, most = left + panel * across, max([1, *rows])
        picture.text((start, 16), f"{split}, {sum(rows):,}")
        for down, value in enumerate(rows):
            y, length = 26 + ROW * down, value / most * (panel - 52)
            picture.shape("rect", "blue", x=start, y=y, width=length, height=ROW - 6)
            picture.text((start + length + 5, y + 14), integer(value), "quiet")
    for down, (_, name) in enumerate(shown):
        picture.text((left - 10, 26 + ROW * down + 14), name, text_anchor="end")
    return picture.svg(26 + ROW * len(shown))


def draw_pictures(records: RunRecords, directory: Path) -> dict[str, Path]:
    """Draw the pictures for which there are records.

    Args:
        records: the records of the run.
        directory: the directory for the SVG files; each is written in one step.

    Returns:
        The files by name: ``labels`` with a dataset, ``training`` with a history, ``forest``,
        ``confusion`` and ``coverage`` with an evaluation.
    """
    drawn: dict[str, str] = {}
    evaluation, checkpoint = records.evaluation, records.checkpoint
    if evaluation:
        drawn["forest"] = draw_forest(evaluation, records.decision)
        drawn["confusion"] = draw_confusion(evaluation.test)
        drawn["coverage"] = draw_coverage(evaluation.coverage_curve)
    tuned = checkpoint and checkpoint.fine_tuning
    if tuned and tuned.history:
        drawn["training"] = draw_training(tuned, records.baseline)
    if records.dataset:
        drawn["labels"] = draw_labels(records.dataset)
    paths = {name: directory / f"{name}.svg" for name in drawn}
    for name, path in paths.items():
        write_atomically(path, drawn[name])
    return paths
