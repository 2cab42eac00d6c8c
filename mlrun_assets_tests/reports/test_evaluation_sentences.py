from __future__ import annotations

from typing import Any

import pytest

from mlrun_assets import records as r
from mlrun_assets.evaluation.calibration import TEMPERATURES
from mlrun_assets.reports.plots import draw_reliability
from mlrun_assets.reports.scores import (
    calibration_sentence,
    label_next_sentence,
    parts_comparison,
    parts_sentence,
    parts_table,
    undivided_sentence,
)
from mlrun_assets_tests.examples import full_run, part_comparison, score


def evaluation() -> r.EvaluationRecord:
    known = full_run().evaluation
    assert known
    return known


def calibration() -> r.Calibration:
    known = evaluation().calibration
    assert known
    return known


def with_checks(**outcomes: str) -> r.DatasetRecord:
    """The dataset with these outcomes of its checks; no other check was made."""
    known = full_run().dataset
    assert known
    checks = tuple(
        check.model_copy(update={"outcome": r.CheckOutcome(outcomes[check.name])})
        for check in known.checks
        if check.name in outcomes
    )
    return known.model_copy(update={"checks": checks})


def with_bins(*bins: tuple[int, float, float], **changes: Any) -> r.EvaluationRecord:
    found = tuple(
        r.ReliabilityBin(low=0.0, high=1.0, rows=rows, confidence=confidence, accuracy=accuracy)
        for rows, confidence, accuracy in bins
    )
    believed = calibration().model_copy(update={"bins": found, **changes})
    known = evaluation()
    accuracy = sum(rows * right for rows, _, right in bins) / sum(rows for rows, _, _ in bins)
    test = known.test.model_copy(update={"accuracy": score(accuracy, 0.04)})
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


def test_the_share_that_is_right_has_an_interval_where_the_record_has_one() -> None:
    largest = r.ReliabilityBin(
        low=0.9, high=1.0, rows=100, confidence=0.98, accuracy=0.96, accuracy_low=0.9,
        accuracy_high=0.98,
    )  # fmt: skip
    believed = calibration().model_copy(update={"bins": (largest,)})
    sentence = calibration_sentence(evaluation().model_copy(update={"calibration": believed}))
    assert "98 %, it is right 96 % [90 %, 98 %] of the time** (100 of" in sentence


@pytest.mark.parametrize(("p95", "judged"), [(0.05, "(more than chance"), (0.1, "(no more than ")])
def test_an_error_is_shown_beside_that_of_chance(p95: float, judged: str) -> None:
    changes = {"error": 0.061, "chance": r.ErrorByChance(mean=0.03, p95=p95)}
    sentence = calibration_sentence(with_bins((9, 0.9, 1.0), **changes))
    assert f"0.061 {judged}" in sentence and "0.030 on average" in sentence
    without = calibration_sentence(with_bins((9, 0.9, 1.0), chance=None, chance_scaled=None))
    assert "chance" not in without


def test_a_temperature_at_its_limit_is_told_as_one() -> None:
    limit = with_bins((9, 0.9, 1.0), temperature=TEMPERATURES[0])
    assert "0.2 (its limit: val can't tell how sure it may be), fitted" in calibration_sentence(
        limit
    )
    sure = with_bins((9, 0.9, 1.0), temperature=TEMPERATURES[1])
    assert "5 (its limit: it is too sure by more than that)" in calibration_sentence(sure)
    assert "limit" not in calibration_sentence(with_bins((9, 0.9, 1.0), temperature=1.62))


def test_shares_that_are_all_or_nearly_all() -> None:
    said = calibration_sentence(with_bins((9, 0.9991, 1.0)))
    assert said.startswith("**When it says > 99 %, it is right 100 % of the time**")


def test_an_evaluation_of_before_has_only_its_error() -> None:
    known = evaluation().model_copy(update={"calibration": None, "label_next": None})
    assert calibration_sentence(known).startswith(
        f"Expected calibration error {known.calibration_error:.3f}. "
    )
    assert label_next_sentence(known) is None


def test_what_to_do_with_the_rows_depends_on_where_they_are_from() -> None:
    def sentence(**changes: Any) -> str | None:
        listed = {"split": "val", "candidates": 148, "rows": 41, "doubted": 3}
        found = r.LabelNext(**{**listed, **changes})
        return label_next_sentence(evaluation().model_copy(update={"label_next": found}))

    on_val = sentence()
    assert on_val and "41 of 148 val rows" in on_val
    assert "3 have a label" in on_val and "`data.unlabelled_path`" in on_val
    unlabelled = sentence(split="unlabelled", candidates=2000, rows=100, doubted=0)
    assert unlabelled and "100 of 2,000 texts" in unlabelled and "val" not in unlabelled
    assert sentence(rows=0) is None


def test_parts_are_those_of_production_where_it_can_be_compared() -> None:
    comparable = evaluation().baseline.model_copy(update={"against": "exp_0"})
    known = evaluation().model_copy(update={"production": comparable})
    assert parts_comparison(known) is comparable
    other = r.Comparison(against="exp_0", comparable=False, reason="other labels", rows=0)
    assert parts_comparison(known.model_copy(update={"production": other})) is known.baseline
    assert parts_comparison(known.model_copy(update={"production": None})) is known.baseline


def test_the_parts_that_lost_most_come_first_and_the_sentence_names_what_is_shown() -> None:
    comparison = evaluation().baseline.model_copy(
        update={
            "labels": (
                part_comparison("a", score(-0.05, 0.07)),
                part_comparison("b", score(0.3, 0.07)),
            ),
            "slices": (part_comparison("length: long", score(0.04, 0.07)),),
            "parts_confidence": None,
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


@pytest.mark.parametrize(
    ("outcome", "slices", "named"),
    [
        ("passed", (), ["Truncated", "code-switched"]),
        ("passed", ("truncated",), ["Code-switched"]),
        ("passed", ("truncated", "code-switched"), []),
        ("off", ("truncated",), ["Code-switched", "not checked"]),
        (None, ("truncated",), ["Code-switched", "not checked"]),
    ],
)
def test_slices_with_one_side_only_are_named(
    outcome: str | None, slices: tuple[str, ...], named: list[str]
) -> None:
    data = with_checks(**({"code_switching": outcome} if outcome else {}))
    found = tuple(r.SliceScores(column=one, value="yes", rows=40, accuracy=None) for one in slices)
    sentence = undivided_sentence(evaluation().model_copy(update={"slices": found}), data)
    assert all(name in sentence for name in named)
    assert bool(sentence) == bool(named)
    assert ("truncated" in sentence.lower()) == ("truncated" not in slices)
    assert ("not checked" in sentence) == ("not checked" in named)


def test_the_diagram_has_a_point_for_each_bin_and_both_errors() -> None:
    known = calibration()
    before, after = draw_reliability(known).axes
    assert before.get_title().endswith(f"error {known.error:.3f}")
    assert after.get_title().endswith(f"error {known.error_scaled:.3f}")
    for axes, bins in ((before, known.bins), (after, known.bins_scaled)):
        points = axes.collections[0].get_offsets().tolist()
        assert points == [[each.confidence, each.accuracy] for each in bins]
        areas, rows = axes.collections[0].get_sizes().tolist(), [each.rows for each in bins]
        assert areas.index(max(areas)) == rows.index(max(rows))
