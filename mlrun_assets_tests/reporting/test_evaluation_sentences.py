from __future__ import annotations

from typing import Any

import pytest

from mlrun_assets import records as r
from mlrun_assets.calibration import TEMPERATURES
from mlrun_assets.reporting.calibration_plots import draw_reliability
from mlrun_assets.reporting.evaluation_sentences import (
    calibration_sentence,
    label_next_sentence,
    parts_comparison,
    parts_sentence,
    undivided_sentence,
)
from mlrun_assets.reporting.score_tables import parts_table
from mlrun_assets_tests.reporting.conftest import (
    around,
    calibration,
    check,
    dataset,
    evaluation,
    part,
)


def with_bins(*bins: tuple[int, float, float], **changes: Any) -> r.EvaluationRecord:
    found = tuple(
        r.ReliabilityBin(low=0.0, high=1.0, rows=rows, confidence=confidence, accuracy=accuracy)
        for rows, confidence, accuracy in bins
    )
    believed = calibration().model_copy(update={"bins": found, **changes})
    known = evaluation()
    accuracy = sum(rows * right for rows, _, right in bins) / sum(rows for rows, _, _ in bins)
    test = known.test.model_copy(update={"accuracy": around(accuracy, 0.04)})
    return known.model_copy(update={"calibration": believed, "test": test})


@pytest.mark.parametrize(
    ("confidence", "accuracy", "judged"),
    [
        (0.9, 0.82, "it is too sure of itself"),
        (0.7, 0.82, "it is less sure than it could be"),
        (0.84, 0.82, "these rows do not show it to be too sure"),
    ],
)
def test_what_the_model_says_and_what_is_so(
    confidence: float, accuracy: float, judged: str
) -> None:
    said = calibration_sentence(with_bins((90, confidence, accuracy), (10, confidence, accuracy)))
    assert said.startswith(
        f"**When it says {confidence:.0%}".replace("%", " %")
        + f", it is right {accuracy:.0%} of the time** (90 of 100 rows)".replace("%", " %")
    )
    assert judged in said


def test_what_is_so_has_an_interval_where_the_record_has_one() -> None:
    said = calibration_sentence(evaluation())
    assert said.startswith("**When it says 98 %, it is right 96 % [90 %, 98 %] of the time** (100")
    assert "on average it says 85 % and is right 85 % [80 %, 90 %]: these rows do" in said


def test_an_error_is_told_beside_what_chance_gives() -> None:
    said = calibration_sentence(evaluation())
    assert (
        "Expected calibration error 0.061 (no more than chance gives a perfectly calibrated model "
        "on as many rows: 0.057 on average, at most 0.089 in 95 of 100 splits), Brier score 0.241;"
    ) in said
    assert "0.034 (no more than chance: 0.064 on average, at most 0.097 in 95" in said
    beyond = with_bins((9, 0.9, 1.0), chance=r.ErrorByChance(mean=0.03, p95=0.05))
    assert "0.061 (more than chance gives" in calibration_sentence(beyond)
    before = with_bins((9, 0.9, 1.0), chance=None, chance_scaled=None)
    assert "0.061, Brier score 0.241" in calibration_sentence(before)
    assert "0.034 and 0.229" in calibration_sentence(before)


def test_a_temperature_at_its_limit_is_told_as_one() -> None:
    limit = with_bins((9, 0.9, 1.0), temperature=TEMPERATURES[0])
    assert "0.2 (its limit: val can't tell how sure it may be), fitted" in calibration_sentence(
        limit
    )
    sure = with_bins((9, 0.9, 1.0), temperature=TEMPERATURES[1])
    assert "5 (its limit: it is too sure by more than that)" in calibration_sentence(sure)
    assert "limit" not in calibration_sentence(with_bins((9, 0.9, 1.0)))


def test_shares_that_are_all_or_nearly_all() -> None:
    said = calibration_sentence(with_bins((9, 0.9991, 1.0)))
    assert said.startswith("**When it says > 99 %, it is right 100 % of the time**")


def test_an_evaluation_of_before_has_only_its_error() -> None:
    known = evaluation().model_copy(update={"calibration": None, "label_next": None})
    assert calibration_sentence(known).startswith("Expected calibration error 0.061. Matthews")
    assert label_next_sentence(known) is None


def test_what_to_do_with_the_rows_depends_on_where_they_are_from() -> None:
    known = evaluation()
    assert known.label_next is not None
    on_val = label_next_sentence(known)
    assert on_val is not None
    assert on_val.startswith("Label more texts like the 41 of 148 val rows in `records/label_next")
    assert "3 have a label that no model gives. With `data.unlabelled_path` set" in on_val
    texts = r.LabelNext(split="unlabelled", candidates=2000, rows=100, doubted=0)
    unlabelled = label_next_sentence(known.model_copy(update={"label_next": texts}))
    assert unlabelled is not None
    assert unlabelled.startswith("Label first: 100 of 2,000 texts without labels in `records/")
    nothing = known.label_next.model_copy(update={"rows": 0})
    assert label_next_sentence(known.model_copy(update={"label_next": nothing})) is None


def test_parts_are_those_of_production_where_it_can_be_compared() -> None:
    known = evaluation()
    assert parts_comparison(known) is known.production
    other = r.Comparison(against="v0003", comparable=False, reason="other labels", rows=0)
    assert parts_comparison(known.model_copy(update={"production": other})) is known.baseline
    assert parts_comparison(known.model_copy(update={"production": None})) is known.baseline


def test_the_parts_that_lost_most_come_first_and_the_sentence_names_what_is_shown() -> None:
    comparison = evaluation().baseline.model_copy(
        update={
            "labels": (part("a", 40, 0.9, 0.85), part("b", 40, 0.6, 0.9)),
            "slices": (part("length: long", 40, 0.8, 0.84),),
        }
    )
    rows = parts_table(comparison).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| b", "| length: long", "| a"]
    assert rows[0] == "| b | 40 | 0.600 | 0.900 | +0.300 [+0.230, +0.370] |"
    assert parts_sentence(comparison).endswith("Shown to have lost: b.")
    assert "on its own, and one of many loses by chance" in parts_sentence(comparison)
    together = comparison.model_copy(update={"parts_confidence": 0.99762})
    assert "each at 99.76 % confidence so that all hold together" in parts_sentence(together)
    none = comparison.model_copy(update={"labels": (), "slices": ()})
    assert parts_sentence(none).endswith("Shown to have lost: none.")


def test_slices_with_one_side_only_are_named() -> None:
    known = dataset().model_copy(update={"checks": (check("code_switching", "passed"),)})
    assert (
        undivided_sentence(evaluation(), known)
        == "Truncated and code-switched: every test row or none, so no slice."
    )
    cut = r.SliceScores(column="truncated", value="yes", rows=40, accuracy=None)
    assert (
        undivided_sentence(evaluation().model_copy(update={"slices": (cut,)}), known)
        == "Code-switched: every test row or none, so no slice."
    )
    mixed = r.SliceScores(column="code-switched", value="yes", rows=40, accuracy=None)
    both = evaluation().model_copy(update={"slices": (cut, mixed)})
    assert undivided_sentence(both, known) == undivided_sentence(both, None) == ""


@pytest.mark.parametrize("checks", [(check("code_switching", "off"),), ()])
def test_code_switching_that_nobody_looked_for_is_not_said_to_be_in_no_row(
    checks: tuple[r.QualityCheck, ...],
) -> None:
    known = dataset().model_copy(update={"checks": checks})
    assert undivided_sentence(evaluation(), known) == (
        "Truncated: every test row or none, so no slice. Code-switched: no slice, since that was "
        "not checked."
    )
    assert undivided_sentence(evaluation(), None) == undivided_sentence(evaluation(), known)


def test_the_diagram_has_a_point_for_each_bin_and_both_errors() -> None:
    figure = draw_reliability(calibration())
    before, after = figure.axes
    assert before.get_title() == "as the model says it: error 0.061"
    assert after.get_title() == "temperature 1.62: error 0.034"
    for axes, bins in ((before, calibration().bins), (after, calibration().bins_scaled)):
        points = axes.collections[0].get_offsets().tolist()
        assert points == [[each.confidence, each.accuracy] for each in bins]
        areas = axes.collections[0].get_sizes().tolist()
        assert areas.index(max(areas)) == 2
