from __future__ import annotations

import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from mlrun_assets import records as r
from mlrun_assets.reporting import data_plots, score_plots
from mlrun_assets.reporting.canvas import style
from mlrun_assets.reporting.lettering import FIRST_FAMILY, font_families, picture_names
from mlrun_assets.reporting.markdown import CAPTIONS
from mlrun_assets.reporting.plots import draw_pictures, thumbnail
from mlrun_assets.reporting.run_records import RunRecords
from mlrun_assets_tests.reporting.conftest import (
    LABELS,
    baseline,
    blocked_run,
    cancelled_run,
    checkpoint,
    dataset,
    empty_run,
    full_run,
    relabelled,
    scores,
    square,
)

FAMILIES = [FIRST_FAMILY]
ODD_LABELS = (
    "السياسة",
    "ትምህርት",
    "政治",
    "$a_b$ \\frac{",
    "a very long label that goes on and on, 1",
    "a very long label that goes on and on, 2",
    "<b>x</b>\n# y",
    "\U0010fffd",
    "ọ̀rọ̀ ajé",
    "%s {0}",
)


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (full_run(), set(CAPTIONS)),
        (blocked_run(), {"labels", "lengths", "fit"}),
        (cancelled_run(), {"labels", "lengths", "fit"}),
        (empty_run(), set()),
    ],
)
def test_what_the_records_allow_is_drawn(run: RunRecords, names: set[str], tmp_path: Path) -> None:
    pictures = draw_pictures(run, tmp_path / "plots")
    assert set(pictures) == names
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == sorted(
        path.name for path in pictures.values()
    )
    for path in pictures.values():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width == 1280


@pytest.mark.parametrize(
    "labels",
    [ODD_LABELS, tuple(f"label {place}" for place in range(60)), ("1", "2")],
    ids=["odd", "many", "two"],
)
def test_any_labels_can_be_drawn(labels: tuple[str, ...], tmp_path: Path) -> None:
    pictures = draw_pictures(relabelled(full_run(), labels), tmp_path)
    assert set(pictures) == set(CAPTIONS)


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first = draw_pictures(blocked_run(), tmp_path / "a")
    second = draw_pictures(blocked_run(), tmp_path / "b")
    assert [first[name].read_bytes() for name in first] == [
        second[name].read_bytes() for name in second
    ]


def test_matplotlib_is_left_as_it_was() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with style(["DejaVu Serif"]):
        assert mpl.rcParams["font.family"] == ["DejaVu Serif"]
    assert dict(mpl.rcParams) == before


def test_the_confusion_matrix_shows_its_counts() -> None:
    few = score_plots.draw_confusion(scores(0.8, 0.7), FAMILIES).axes[0]
    assert [text.get_text() for text in few.texts[:6]] == ["58", "1", "2", "3", "0", "2"]
    assert [text.get_text() for text in few.get_yticklabels()] == list(LABELS)
    shares = few.images[0].get_array()
    assert shares[0, 0] == pytest.approx(58 / 64)
    labels = tuple(f"l{place}" for place in range(16))
    many = score_plots.draw_confusion(scores(0.8, 0.7, labels, square(16)), FAMILIES).axes[0]
    assert not many.texts
    assert many.images[0].get_array()[15].tolist() == [0.0] * 16


def test_the_bars_are_the_f1_of_each_label_best_first() -> None:
    found = scores(0.8, 0.7)
    axes = score_plots.draw_per_class(found, FAMILIES).axes[0]
    best = sorted(found.per_class, key=lambda label: -label.f1)
    assert [bar.get_width() for bar in axes.patches] == [label.f1 for label in best]
    assert [text.get_text() for text in axes.get_yticklabels()] == [one.label for one in best]
    assert axes.texts[0].get_text() == "0.95  (44 rows)"


def test_the_curves_mark_the_best_epoch() -> None:
    losses, f1 = score_plots.draw_training(checkpoint(), baseline()).axes
    legend = [text.get_text() for text in f1.get_legend().get_texts()]
    assert legend == ["model", "n-gram baseline, 0.741", "best: epoch 5, 0.751"]
    assert f1.lines[0].get_ydata().tolist() == [one.val_f1_macro for one in checkpoint().history]
    assert [line.get_label() for line in losses.lines[:2]] == ["train", "val"]


def test_a_history_with_gaps_can_be_drawn(tmp_path: Path) -> None:
    epoch = r.EpochMetrics(
        epoch=0.5,
        step=1,
        train_loss=None,
        val_loss=math.inf,
        val_accuracy=0.1,
        val_f1_macro=math.nan,
    )
    record = checkpoint().model_copy(update={"history": (epoch,), "best_epoch": 1.0})
    pictures = draw_pictures(replace(empty_run(), checkpoint=record), tmp_path)
    assert set(pictures) == {"training"}
    none = record.model_copy(update={"history": ()})
    assert draw_pictures(replace(empty_run(), checkpoint=none), tmp_path) == {}


def test_the_rows_of_each_label_are_drawn_by_split() -> None:
    data = dataset()
    panels = data_plots.draw_labels(data, FAMILIES).axes
    assert [axes.get_title(loc="left") or axes.get_title() for axes in panels] == [*data.splits]
    for axes, profile in zip(panels, data.splits.values(), strict=True):
        assert [bar.get_width() for bar in axes.patches] == [*profile.label_rows.values()]


def test_the_lengths_stand_beside_the_limit() -> None:
    axes = data_plots.draw_lengths(dataset()).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["71 to 168.5; 12.4 % cut"] * 3 + ["the model reads 128 tokens"]


def test_names_are_short_different_and_drawable() -> None:
    names = picture_names(ODD_LABELS, FAMILIES)
    assert names[:4] == ["السياسة", "no. 2", "no. 3", "$a_b$ \\frac{"]
    assert names[4:8] == [
        "5. a very long label that…",
        "6. a very long label that…",
        "<b>x</b> # y",
        "no. 8",
    ]
    assert len(set(names)) == len(ODD_LABELS)


def test_what_the_first_font_lacks_is_taken_from_another() -> None:
    assert font_families(["siyaasad"], "cmss10") == ["cmss10"]
    families = font_families(["السياسة"], "cmss10")
    assert families[0] == "cmss10"
    assert picture_names(["السياسة"], families[:1]) == ["no. 1"]
    assert picture_names(["السياسة"], families) == ["السياسة"]


def test_a_thumbnail_keeps_its_limit(tmp_path: Path) -> None:
    path = draw_pictures(full_run(), tmp_path)["training"]
    for limit in (50_000, 5_000):
        content = thumbnail(path, limit)
        assert len(content) <= limit
        with Image.open(BytesIO(content)) as small, Image.open(path) as full:
            assert small.format == "PNG"
            assert small.width <= 800
            assert small.width / small.height == pytest.approx(full.width / full.height, rel=0.05)
    with pytest.raises(ValueError, match="no thumbnail fits into 10 bytes"):
        thumbnail(path, 10)


def test_a_noisy_picture_shrinks_until_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((900, 600), 90).save(path)
    assert path.stat().st_size > 400_000
    assert len(thumbnail(path)) <= 50_000
