import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from mlrun_assets import records as r
from mlrun_assets.records import RunRecords
from mlrun_assets.reports import plots
from mlrun_assets.reports.figure import FIRST_FAMILY, font_families, picture_names, style, thumbnail
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.report import CAPTIONS
from mlrun_assets_tests.examples import (
    blocked_run,
    cancelled_run,
    checkpoint_record,
    empty_run,
    full_run,
    relabelled,
    scores_of,
)

FAMILIES = [FIRST_FAMILY]
LABELS = ("siyaasad", "ciyaaro", "caafimaad")
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


TOPICS = scores_of(((58, 1, 2), (2, 41, 0), (3, 0, 22)), LABELS)


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
    assert {*pictures} == names
    assert sorted(tmp_path.rglob("*.png")) == sorted(pictures.values())
    for path in pictures.values():
        with Image.open(path) as picture:
            assert (picture.format, picture.width) == ("PNG", 1280)


@pytest.mark.parametrize(
    "labels",
    [ODD_LABELS, tuple(f"label {place}" for place in range(60)), ("1", "2")],
    ids=["odd", "many", "two"],
)
def test_any_labels_can_be_drawn(labels: tuple[str, ...], tmp_path: Path) -> None:
    pictures = draw_pictures(relabelled(full_run(), labels), tmp_path)
    assert set(pictures) == set(CAPTIONS)


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    twice = [draw_pictures(blocked_run(), tmp_path / name).values() for name in "ab"]
    first, second = ([path.read_bytes() for path in paths] for paths in twice)
    assert first == second


def test_only_pictures_that_show_something_else_are_drawn_again(tmp_path: Path) -> None:
    def times(run: RunRecords) -> dict[str, int]:
        return {k: file.stat().st_mtime_ns for k, file in draw_pictures(run, tmp_path).items()}

    run = full_run()
    first = times(run)
    for changed, drawn in (({}, set()), ({"baseline": None}, {"training"})):
        now = times(replace(run, **changed))
        assert {name for name in now if now[name] != first[name]} == drawn


def test_matplotlib_is_left_as_it_was() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with style(["DejaVu Serif"]):
        assert mpl.rcParams["font.family"] == ["DejaVu Serif"]
    assert dict(mpl.rcParams) == before


def test_the_confusion_matrix_shows_its_counts() -> None:
    few = plots.draw_confusion(TOPICS, FAMILIES).axes[0]
    assert [text.get_text() for text in few.texts[:6]] == ["58", "1", "2", "2", "41", "0"]
    assert [text.get_text() for text in few.get_yticklabels()] == list(LABELS)
    assert few.images[0].get_array()[0, 0] == pytest.approx(58 / 61)
    evaluation = relabelled(full_run(), tuple(f"l{place}" for place in range(16))).evaluation
    assert evaluation
    many = plots.draw_confusion(evaluation.test, FAMILIES).axes[0]
    assert not many.texts
    assert many.images[0].get_array()[15].tolist() == [0.0] * 16


def test_the_bars_are_the_f1_of_each_label_best_first() -> None:
    axes = plots.draw_per_class(TOPICS, FAMILIES).axes[0]
    best = sorted(TOPICS.per_class, key=lambda label: -label.f1)
    assert [bar.get_width() for bar in axes.patches] == [label.f1 for label in best]
    assert [text.get_text() for text in axes.get_yticklabels()] == [one.label for one in best]
    assert axes.texts[0].get_text() == "0.96  (43 rows)"


def test_the_curves_mark_the_best_epoch() -> None:
    run = full_run()
    assert run.checkpoint and run.checkpoint.fine_tuning and run.baseline
    tuned = run.checkpoint.fine_tuning
    losses, f1 = plots.draw_training(tuned, run.baseline).axes
    legend = [text.get_text() for text in f1.get_legend().get_texts()]
    assert legend[0] == "encoder" and len(legend) == 3
    assert f"epoch {tuned.best_epoch:.0f}, " in legend[2]
    assert f1.lines[0].get_ydata().tolist() == [one.val_f1_macro for one in tuned.history]
    assert [line.get_label() for line in losses.lines[:2]] == ["train", "val"]


def test_a_history_with_gaps_can_be_drawn(tmp_path: Path) -> None:
    gaps = {"train_loss": None, "val_loss": math.inf, "val_f1_macro": math.nan}
    epoch = r.EpochMetrics(epoch=0.5, step=1, val_accuracy=0.1, **gaps)
    for history, names in (((epoch,), {"training"}), ((), set())):
        record = checkpoint_record(history=history)
        assert {*draw_pictures(replace(empty_run(), checkpoint=record), tmp_path)} == names


def test_the_rows_of_each_label_are_drawn_by_split() -> None:
    data = full_run().dataset
    assert data
    panels = plots.draw_labels(data, FAMILIES).axes
    assert [axes.get_title(loc="left") or axes.get_title() for axes in panels] == [*data.splits]
    for axes, profile in zip(panels, data.splits.values(), strict=True):
        widths = sorted(bar.get_width() for bar in axes.patches)
        assert widths == sorted(profile.label_rows.values())


def test_the_lengths_are_beside_the_limit() -> None:
    data = full_run().dataset
    assert data
    *splits, limit = (text.get_text() for text in plots.draw_lengths(data).axes[0].texts)
    assert splits[0] == "40 to 51; 90.5 % truncated" and len(splits) == 3
    assert str(data.max_length) in limit


def test_names_are_short_different_and_drawable() -> None:
    names = picture_names(ODD_LABELS, FAMILIES)
    assert names[:4] == ["السياسة", "no. 2", "no. 3", "$a_b$ \\frac{"]
    assert names[4:6] == [f"{place}. a very long label that…" for place in (5, 6)]
    assert names[6:8] == ["<b>x</b> # y", "no. 8"]
    assert len(set(names)) == len(ODD_LABELS)


def test_what_the_first_font_lacks_is_taken_from_another() -> None:
    assert font_families(["siyaasad"], "cmss10") == ["cmss10"]
    families = font_families(["السياسة"], "cmss10")
    assert families[0] == "cmss10"
    assert picture_names(["السياسة"], families[:1]) == ["no. 1"]
    assert picture_names(["السياسة"], families) == ["السياسة"]


def test_a_thumbnail_keeps_its_limit_and_proportions(tmp_path: Path) -> None:
    noise = tmp_path / "noise.png"
    Image.effect_noise((900, 600), 90).save(noise)
    assert noise.stat().st_size > 400_000
    drawn = draw_pictures(full_run(), tmp_path)["training"]
    for path, limit in ((noise, 50_000), (drawn, 50_000), (drawn, 5_000)):
        content = thumbnail(path, limit)
        assert len(content) <= limit
        with Image.open(BytesIO(content)) as small, Image.open(path) as full:
            assert small.format == "PNG" and small.width <= 800
            assert small.width / small.height == pytest.approx(full.width / full.height, rel=0.05)
    with pytest.raises(ValueError, match="no thumbnail fits into 10 bytes"):
        thumbnail(drawn, 10)
