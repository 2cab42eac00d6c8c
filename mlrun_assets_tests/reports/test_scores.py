from typing import Any

import pytest

from mlrun_assets import records as r
from mlrun_assets.reports.scores import (
    acceptance_sentence,
    acceptance_table,
    calibration_sentence,
    calibration_table,
    cheap_models_table,
    label_next_sentence,
    parts_comparison,
    parts_sentence,
    parts_table,
)
from mlrun_assets.reports.sentences import choice_sentence
from mlrun_assets.reports.tables import candidates_table
from mlrun_assets_tests.examples import (
    checkpoint_record,
    evaluation_record,
    part_comparison,
    record_of,
    score,
)


def with_bins(confidence: float, accuracy: float, **changes: Any) -> r.EvaluationRecord:
    """An evaluation of 90 rows in one bin and 10 in another, with the same confidence."""
    record = evaluation_record(accuracy)
    facts = {"accuracy_low": accuracy - 0.04, "accuracy_high": accuracy + 0.04}
    known = record.calibration.bins[0].model_copy(
        update={"confidence": confidence, "accuracy": accuracy, **facts}
    )
    bins = tuple(known.model_copy(update={"rows": rows}) for rows in (90, 10))
    calibration = record.calibration.model_copy(update={"bins": bins, **changes})
    return record.model_copy(update={"calibration": calibration})


@pytest.mark.parametrize(
    ("confidence", "judged"),
    [
        (0.9, "overconfident"),
        (0.7, "underconfident"),
        (0.84, "not shown to be over- or underconfident"),
    ],
)
def test_confidence_is_compared_with_accuracy(confidence: float, judged: str) -> None:
    sentence = calibration_sentence(with_bins(confidence, 0.82))
    assert f"is **{judged}**: its mean confidence is {100 * confidence:.0f} %" in sentence


def test_100_percent_is_shown_only_where_it_is_exact() -> None:
    assert "confidence is > 99 %" in calibration_sentence(with_bins(0.9991, 1.0))


def test_a_calibration_error_is_beside_that_of_chance() -> None:
    chance = r.ErrorByChance(mean=0.03, p95=0.05)
    rows = calibration_table(with_bins(0.9, 0.82, error=0.061, chance=chance))
    assert "| expected calibration error | 0.061 | 0.030, up to 0.050 |" in rows


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
    [(1234, "about 1,234 rows would"), (1, "about 1 row would"), (None, "more rows will not help")],
)
def test_a_precision_that_is_not_shown_says_how_many_rows_would(
    needed: int | None, says: str
) -> None:
    record = accepting(None, rows_needed=needed)
    assert "| 95 % | not shown |" in acceptance_table(record)
    sentence = acceptance_sentence(record)
    assert f"520 rows can't show 95 % ({says}" in sentence
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
    assert "too: for 3 of them, no model predicts" in on_val and "`data.unlabelled_path`" in on_val
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


def test_candidates_whose_parts_are_no_better_than_chance_are_named() -> None:
    record = checkpoint_record()
    first = record.candidates[0]
    found = {
        "frozen": {"frozen": 0.0},
        "frozen+ngrams": {"frozen": 0.0, "ngrams": 2.0},
        "encoder": {"encoder": 1.0},
    }
    tried = tuple(
        first.model_copy(update={"name": name, "weights": weights})
        for name, weights in found.items()
    )
    changed = record.model_copy(update={"candidates": tried, "chosen": "frozen+ngrams"})
    rows = str(candidates_table(changed, None)).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [
        "`frozen` (no better than chance)",
        "**`frozen+ngrams`** (chosen) (`frozen` adds nothing: its weight is 0)",
        "`encoder`",
    ]


def test_the_share_of_the_label_names_is_shown_where_they_are_used() -> None:
    plain = r.FrozenRecord(accuracy=0.7, f1_macro=0.7, seconds=1.0, trim=None)
    heads = {"frozen": plain.model_copy(update={"label_names": 0.425}), "helped": plain}
    baseline = record_of("baseline", **heads)
    rows = cheap_models_table(baseline)
    assert "| frozen encoder, linear head, 42.5 % from label names |" in rows
    assert "| frozen encoder, linear head with helper rows |" in rows
    frozen = record_of("checkpoint", chosen="frozen+ngrams")
    share = "42.5 % of the head's scores come from the label names."
    assert choice_sentence(frozen, baseline).endswith(share)
    assert "label names" not in choice_sentence(record_of("checkpoint", chosen="ngrams"), baseline)
