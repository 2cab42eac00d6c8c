import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from mlrun_assets import records as r
from mlrun_assets.records import RunRecords
from mlrun_assets.reports import plots
from mlrun_assets.reports.figure import Scale, on_white, short_names
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.report import CAPTIONS
from mlrun_assets_tests.examples import (
    POISON,
    blocked_run,
    cancelled_run,
    checkpoint_record,
    empty_run,
    evaluation_record,
    full_run,
    relabelled,
    scores_of,
)

SVG = "{http://www.w3.org/2000/svg}"
ODD_LABELS = (
    "السياسة",
    "ትምህርት",
    "政治",
    "$a_b$ \\frac{",
    "a very long label that goes on and on, 1",
    "a very long label that goes on and on, 2",
    "<b>x</b>\n# y",
    "ọ̀rọ̀ ajé",
    "%s {0}",
)
TOPICS = scores_of(((58, 1, 2), (2, 41, 0), (3, 0, 22)), ("siyaasad", "ciyaaro", "caafimaad"))


def parts(svg: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}{kind}"))


def words(svg: str) -> list[str]:
    return [part.text or "" for part in parts(svg, "text")]


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (full_run(), set(CAPTIONS)),
        (blocked_run(), {"labels"}),
        (cancelled_run(), {"labels"}),
        (empty_run(), set()),
    ],
)
def test_what_the_records_allow_is_drawn(run: RunRecords, names: set[str], tmp_path: Path) -> None:
    pictures = draw_pictures(run, tmp_path / "plots")
    assert {*pictures} == names
    assert sorted(tmp_path.rglob("*.*")) == sorted(pictures.values())


@pytest.mark.parametrize(
    "run",
    [
        relabelled(full_run(), ODD_LABELS),
        relabelled(full_run(), tuple(f"label {place}" for place in range(60))),
        relabelled(full_run(), ("1", "2")),
        relabelled(full_run(), (POISON, "b")),
    ],
    ids=["odd", "many", "two", "poisoned"],
)
def test_any_labels_can_be_drawn(run: RunRecords, tmp_path: Path) -> None:
    pictures = draw_pictures(run, tmp_path)
    assert set(pictures) == set(CAPTIONS)
    for path in pictures.values():
        kinds = {part.tag.removeprefix(SVG) for part in ET.parse(path).getroot().iter()}
        assert kinds <= {"svg", "title", "style", "text", "polyline", "rect", "circle", "polygon"}


def test_a_picture_has_the_colours_of_a_dark_page_unless_it_is_for_a_white_one() -> None:
    svg = plots.draw_confusion(TOPICS)
    assert "prefers-color-scheme:dark" in svg
    assert "dark" not in on_white(svg) and "background:#fff" in on_white(svg)


def test_the_forest_shows_each_model_with_its_interval_beside_the_minimum() -> None:
    run = full_run()
    assert run.evaluation and run.decision
    shown = words(plots.draw_forest(run.evaluation, run.decision))
    models = ["this model", "0.805", "n-gram baseline", "0.817", "production", "0.817"]
    assert shown[:8] == ["Accuracy", "minimum 0.85", *models]
    assert shown[8:10] == ["macro-F1", "minimum 0.82"]
    first = run.evaluation.model_copy(update={"production": None})
    alone = words(plots.draw_forest(first, None))
    assert "production" not in alone and not [word for word in alone if "minimum" in word]


def test_the_confusion_matrix_shows_its_counts() -> None:
    few = words(plots.draw_confusion(TOPICS))
    assert few[2:6] == ["siyaasad", "58", "1", "2"]
    cells = parts(plots.draw_confusion(TOPICS), "rect")
    assert float(cells[0].attrib["fill-opacity"]) == pytest.approx(58 / 61, abs=0.001)
    many = relabelled(full_run(), tuple(f"l{place}" for place in range(16))).evaluation
    assert many
    assert len(parts(plots.draw_confusion(many.test), "rect")) == plots.MOST_CONFUSED**2


def test_the_curves_have_names() -> None:
    run = full_run()
    assert run.checkpoint and run.checkpoint.fine_tuning
    svg = plots.draw_training(run.checkpoint.fine_tuning, run.baseline)
    assert [word for word in words(svg) if word.isalpha() and len(word) > 2] == [
        *("loss", "train", "val", "epoch", "encoder", "epoch")
    ]


def test_a_history_with_gaps_can_be_drawn(tmp_path: Path) -> None:
    gaps = {"train_loss": None, "val_loss": math.inf, "val_f1_macro": math.nan}
    epoch = r.EpochMetrics(epoch=0.5, step=1, val_accuracy=0.1, **gaps)
    for history, names in (((epoch,), {"training"}), ((), set())):
        record = checkpoint_record(history=history)
        assert {*draw_pictures(replace(empty_run(), checkpoint=record), tmp_path)} == names


def test_the_coverage_curve_ends_with_all_rows() -> None:
    curve = evaluation_record().coverage_curve
    (line,) = [
        one
        for one in parts(plots.draw_coverage(curve), "polyline")
        if "blue" in one.attrib["style"]
    ]
    points = line.attrib["points"].split()
    assert len(points) == len([each for each in curve if each.precision])
    assert float(points[-1].split(",")[0]) == pytest.approx(504)


def test_the_rows_of_each_label_are_drawn_by_split() -> None:
    data = full_run().dataset
    assert data
    svg = plots.draw_labels(data)
    for name, profile in data.splits.items():
        assert f"{name}, {sum(profile.label_rows.values())}" in words(svg)
        for rows in profile.label_rows.values():
            assert str(rows) in words(svg)
    assert len(parts(svg, "rect")) == len(data.labels) * len(data.splits)


def test_names_are_short_and_different() -> None:
    names = short_names([*ODD_LABELS, ""])
    assert names[:4] == ["السياسة", "ትምህርት", "政治", "$a_b$ \\frac{"]
    assert names[4:6] == [f"{place}. a very long label that…" for place in (5, 6)]
    assert names[6:7] == ["<b>x</b> # y"] and names[-1] == "10. "
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "values", [(0.63, 0.88), (0.5,), (), (math.nan, 3.0), (0.0, 1234.5), (-2, 2)]
)
def test_a_scale_has_round_ticks_around_its_values(values: tuple[float, ...]) -> None:
    scale = Scale.around(values, 100, 400)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    assert (scale(ticks[0]), scale(ticks[-1])) == pytest.approx((100, 400))
    assert all(scale.low <= value <= scale.high for value in values if math.isfinite(value))
