from typing import Any

import pytest

from mlrun_assets import records as r
from mlrun_assets.reports.scores import (
    acceptance_sentence,
    acceptance_table,
    calibration_sentence,
    label_next_sentence,
    missing_slices_sentence,
    parts_comparison,
    parts_sentence,
    parts_table,
)
from mlrun_assets_tests.examples import (
    evaluation_record,
    full_run,
    part_comparison,
    score,
)


def with_bins(confidence: float, accuracy: float, **changes: Any) -> str:
    """The sentence on 90 rows in one bin and 10 in another, with the same confidence."""
    record = evaluation_record(accuracy)
    facts = {"accuracy_low": accuracy - 0.04, "accuracy_high": accuracy + 0.04}
    known = record.calibration.bins[0].model_copy(
        update={"confidence": confidence, "accuracy": accuracy, **facts}
    )
    bins = tuple(known.model_copy(update={"rows": rows}) for rows in (90, 10))
    calibration = record.calibration.model_copy(update={"bins": bins, **changes})
    return calibration_sentence(record.model_copy(update={"calibration": calibration}))


@pytest.mark.parametrize(
    ("confidence", "judged"),
    [
        (0.9, "it is overconfident"),
        (0.7, "it is underconfident"),
        (0.84, "not shown to be over- or underconfident"),
    ],
)
def test_confidence_is_compared_with_accuracy(confidence: float, judged: str) -> None:
    sentence = with_bins(confidence, 0.82)
    assert f"{100 * confidence:.0f} %" in sentence and "82 % [78 %, 86 %]" in sentence
    assert "(90 of 100 rows)" in sentence and judged in sentence


def test_100_percent_is_shown_only_where_it_is_exact() -> None:
    assert "confidence of > 99 % the model is right in 100 %" in with_bins(0.9991, 1.0)


@pytest.mark.parametrize(
    ("p95", "judged"), [(0.05, "0.061, above chance"), (0.1, "0.061, within chance")]
)
def test_a_calibration_error_is_compared_with_chance(p95: float, judged: str) -> None:
    chance = r.ErrorByChance(mean=0.03, p95=p95)
    sentence = with_bins(0.9, 0.82, error=0.061, chance=chance)
    assert judged in sentence and "0.030 on average" in sentence


def accepting(confidence: float | None, **changes: Any) -> r.EvaluationRecord:
    facts = {"min_precision": 0.95, "configured": True, "rows": 520, "confidence": confidence}
    tested = r.AcceptedRows(
        confidence=confidence or 0.0, rows=61, coverage=score(0.58), precision=score(0.95, 0.03)
    )
    shown = r.Acceptance.model_validate({**facts, **changes})
    each = r.JudgedAcceptance(shown=shown, test=tested if confidence else None)
    return evaluation_record().model_copy(update={"acceptance": (each,)})


def test_accepted_rows_are_shown_with_intervals() -> None:
    record = accepting(0.83)
    assert "| 95 % | 83 % | 58 % [53 %, 63 %] | 95 % [92 %, 98 %] |" in acceptance_table(record)
    assert "The model accepts these rows" in acceptance_sentence(record)


@pytest.mark.parametrize(
    ("needed", "says"),
    [(1234, "about 1,234 rows would show it"), (None, "more rows will not help")],
)
def test_a_precision_that_is_not_shown_says_how_many_rows_would(
    needed: int | None, says: str
) -> None:
    record = accepting(None, rows_needed=needed)
    assert "| 95 % | not shown |" in acceptance_table(record)
    sentence = acceptance_sentence(record)
    assert f"Not shown by 520 rows: 95 % ({says}" in sentence
    assert "It is not shown, so the model marks no row" in sentence
    unset = acceptance_sentence(accepting(None, configured=False))
    assert "`deployment.min_precision` is not set" in unset


def test_the_sentence_on_rows_to_label_depends_on_their_split() -> None:
    def sentence(**changes: Any) -> str | None:
        listed = {"split": "val", "candidates": 148, "rows": 41, "doubted": 3}
        found = r.LabelNext(**{**listed, **changes})
        return label_next_sentence(evaluation_record().model_copy(update={"label_next": found}))

    on_val = sentence()
    assert on_val and "41 of 148 val rows" in on_val
    assert "3 with a label" in on_val and "`data.unlabelled_path`" in on_val
    unlabelled = sentence(split="unlabelled", candidates=2000, rows=100, doubted=0)
    assert unlabelled and "100 of 2,000 unlabelled texts" in unlabelled and "val" not in unlabelled
    assert sentence(rows=0) is None


def test_parts_are_compared_with_production_if_that_is_possible() -> None:
    known = evaluation_record()
    comparable = known.baseline.model_copy(update={"against": "exp_0"})
    other = r.Comparison(against="exp_0", comparable=False, reason="other labels", rows=0)
    for production, wanted in ((comparable, comparable), (other, known.baseline)):
        assert parts_comparison(known.model_copy(update={"production": production})) is wanted


def test_parts_are_ordered_by_loss_and_significant_losses_are_named() -> None:
    labels = part_comparison("a", score(-0.05, 0.07)), part_comparison("b", score(0.3, 0.07))
    slices = (part_comparison("length: long", score(0.04, 0.07)),)
    comparison = evaluation_record().baseline.model_copy(
        update={"labels": labels, "slices": slices, "joint_confidence": 0.99762}
    )
    rows = parts_table(comparison).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| b", "| length: long", "| a"]
    assert rows[0] == "| b | 40 | 0.600 | 0.900 | +0.300 [+0.230, +0.370] |"
    sentence = parts_sentence(comparison)
    assert sentence.endswith("worse: b.") and "(3 in all)" in sentence and "99.76 %" in sentence


@pytest.mark.parametrize(
    ("outcome", "slices", "named"),
    [
        ("passed", (), {"truncated", "code-switched"}),
        ("passed", ("truncated",), {"code-switched"}),
        ("passed", ("truncated", "code-switched"), set()),
        ("off", ("truncated",), {"code-switched", "is off"}),
        (None, ("truncated",), {"code-switched", "is off"}),
    ],
)
def test_missing_slices_are_named(
    outcome: str | None, slices: tuple[str, ...], named: set[str]
) -> None:
    data = full_run().dataset
    assert data
    (check,) = (check for check in data.checks if check.name == "code_switching")
    checks = (check.model_copy(update={"outcome": r.CheckOutcome(outcome)}),) if outcome else ()
    found = tuple(r.SliceScores(column=one, value="yes", rows=40, accuracy=None) for one in slices)
    sentence = missing_slices_sentence(
        evaluation_record().model_copy(update={"slices": found}),
        data.model_copy(update={"checks": checks}),
    )
    assert {name for name in ("truncated", "code-switched", "is off") if name in sentence} == named
    assert bool(sentence) == bool(named)
