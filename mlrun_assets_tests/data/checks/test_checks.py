"""Each check on data that has the defect and on data that does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset, Measured, judged
from mlrun_assets.data.checks.language import add_language
from mlrun_assets.data.checks.leakage import split_leakage
from mlrun_assets.data.checks.suite import _OF_NO_ROWS, CHECKS, run_checks
from mlrun_assets.data.reading import SplitRows
from mlrun_assets.data.rows import Quarantine, QuarantinedRow
from mlrun_assets.data.text import duplicate_key
from mlrun_assets.records import Bound, CheckOutcome, QualityCheck, Severity

Rows = list[tuple[str, str]]
CLEAN: dict[str, Rows] = {
    split: [(f"{split} qoraal {number} {label}", label) for number in range(10) for label in "ab"]
    for split in ("train", "val", "test")
}


def split_rows(name: str, rows: Rows, bad: Sequence[str] = ()) -> SplitRows:
    """A split of ``rows``, and a quarantined row for each of the reasons in ``bad``."""
    frame = pl.DataFrame(
        {
            "id": [f"{name}-{number}" for number in range(len(rows))],
            "text": [text for text, _ in rows],
            "label": [label for _, label in rows],
            "key": [duplicate_key(text) for text, _ in rows],
            "tokens": pl.Series([2 * len(text.split()) for text, _ in rows], dtype=pl.Int64),
            "unknown": pl.Series([0 for _ in rows], dtype=pl.Int64),
            "extra_author": [f"{name}-{number}" for number in range(len(rows))],
        },
        schema_overrides=dict.fromkeys(("id", "text", "label", "key", "extra_author"), pl.String),
    )
    frame = add_language(frame.with_columns(raw=pl.col("text")), DataConfig())
    aside = [QuarantinedRow(name, f"{name}.jsonl", 1, reason, "?", "{") for reason in bad]
    return SplitRows(name, f"{name}.jsonl", frame, Quarantine(aside))


def check(
    name: str, splits: dict[str, Rows] | None = None, bad: Sequence[str] = (), **settings: Any
) -> QualityCheck:
    rows = {**CLEAN, **(splits or {})}
    dataset = Dataset(
        splits={split: split_rows(split, rows[split], bad) for split in rows},
        labels=settings.pop("labels", ("a", "b")),
        num_labels=settings.pop("num_labels", None),
        max_length=settings.pop("max_length", 40),
        token_problem=settings.pop("token_problem", None),
        config=DataConfig(group_column="author", quality=settings),
    )
    return next(found.check for found in run_checks(dataset) if found.check.name == name)


# The texts are too short for a language.
@pytest.mark.parametrize("name", [name for name in CHECKS if name != "language"])
def test_clean_data_passes(name: str) -> None:
    result = check(name, max_detectable_difference=0.5)  # there are just 20 test rows
    assert result.outcome is CheckOutcome.PASSED
    assert result.message


@pytest.mark.parametrize("name", list(CHECKS))
def test_a_skipped_check_is_listed_as_off(name: str) -> None:
    assert check(name, {"val": []}, skip=(name,)).outcome is CheckOutcome.OFF


@pytest.mark.parametrize("name", ["truncation", "tokenizer_fit"])
def test_a_check_of_tokens_is_off_without_them(name: str) -> None:
    result = check(name, token_problem="no tokenizer")
    assert result.outcome is CheckOutcome.OFF
    assert result.message == "no token counts: no tokenizer"


@pytest.mark.parametrize(
    ("bound", "values"),
    [
        (Bound.AT_MOST, (0, 1)),
        (Bound.BELOW, (0,)),
        (Bound.AT_LEAST, (1, 2)),
        (Bound.EXACTLY, (1,)),
    ],
)
def test_a_check_fails_exactly_where_its_value_is_beyond_its_threshold(
    bound: Bound, values: tuple[int, ...]
) -> None:
    for value in (0, 1, 2):
        measured = Measured(value, 1, bound=bound)
        assert judged("pii", measured, "fine", "wrong", Severity.ERROR).blocks is (
            value not in values
        )


@pytest.mark.parametrize("name", list(CHECKS))
@pytest.mark.parametrize("empty", [("train",), ("val",), ("train", "val", "test")])
def test_every_check_copes_with_empty_splits(name: str, empty: tuple[str, ...]) -> None:
    labels = () if "train" in empty else ("a", "b")
    assert check(name, {split: [] for split in empty}, labels=labels).message


def test_schema_blocks_beyond_the_share() -> None:
    assert not check("schema", bad=["not JSON"], max_invalid_fraction=0.05).blocks
    result = check("schema", bad=["not JSON"] * 3, max_invalid_fraction=0.05)
    assert result.blocks
    assert result.rows == 9


def test_schema_names_reasons_and_lines_even_if_it_passes() -> None:
    reasons = ["not JSON", "missing text", "missing text", "missing label", "not an object"]
    result = check("schema", bad=reasons, max_invalid_fraction=0.5)
    assert result.outcome is CheckOutcome.PASSED
    assert "missing text: 6, first train.jsonl, line 1: ?, not JSON: 3" in result.message
    assert "and 1 more" in result.message


def test_no_label_blocks() -> None:
    empty: dict[str, Rows] = {split: [] for split in CLEAN}
    assert check("every_label_in_every_split", empty, labels=()).blocks


def test_what_has_nothing_to_look_at_is_off() -> None:
    empty: dict[str, Rows] = {split: [] for split in CLEAN}
    for name in set(CHECKS) - set(_OF_NO_ROWS):
        assert check(name, empty, labels=()).outcome is CheckOutcome.OFF
    assert check("split_leakage", {"train": [], "val": []}, labels=()).outcome is CheckOutcome.OFF
    assert check("class_balance", {"train": []}, labels=()).outcome is CheckOutcome.OFF
    assert check("language", {}, min_language_words=90).outcome is CheckOutcome.OFF


def test_many_labels_are_not_all_listed() -> None:
    labels = tuple(f"label{number}" for number in range(403))
    for name in CHECKS:
        message = check(name, labels=labels).message
        assert len(message) < 1000
        assert ("and 391 more" in message) is (
            name in ("label_domain", "every_label_in_every_split", "class_balance")
        )


def test_quarantined_empty_texts_are_short_ones() -> None:
    result = check("empty_or_short", bad=["empty text", "not JSON"])
    assert (result.warns, result.value, result.rows) == (True, 0, 3)


def test_an_empty_split_blocks() -> None:
    result = check("splits_nonempty", {"val": []})
    assert result.blocks
    assert "val.jsonl" in result.message


@pytest.mark.parametrize(
    ("labels", "num_labels", "said"),
    [
        (("a", "A"), None, "write `A` as `a`"),
        (("a b", "ab"), None, "write `ab` as `a b`"),
        (("a", "b"), 3, "2 labels: a, b; model.num_labels is 3"),
        (("a",), None, "two are needed"),
    ],
)
def test_label_domain(labels: tuple[str, ...], num_labels: int | None, said: str) -> None:
    result = check("label_domain", labels=labels, num_labels=num_labels)
    assert result.blocks
    assert said in result.message


def test_a_label_missing_from_val_blocks_and_from_test_warns() -> None:
    only_a = [("kaliya", "a")]
    assert check("every_label_in_every_split", {"val": only_a}).blocks
    result = check("every_label_in_every_split", {"test": only_a})
    assert result.warns
    assert result.message.startswith("test lacks b; `mlrun-assets split ")


def test_a_label_with_a_single_training_row_blocks() -> None:
    others = [row for row in CLEAN["train"] if row[1] != "b"]
    one = next(row for row in CLEAN["train"] if row[1] == "b")
    result = check("every_label_in_every_split", {"train": [*others, one]})
    assert result.blocks
    assert result.message.startswith("train has a single row of b")
    assert not check("every_label_in_every_split", {"train": [*others, one, ("kale", "b")]}).blocks


def test_exact_duplicates_warn_whatever_case_and_punctuation() -> None:
    result = check("exact_duplicates", {"train": [*CLEAN["train"], ("TRAIN, qoraal 0 a!", "a")]})
    assert result.warns
    assert result.rows == 1
    assert "1 in train" in result.message


def test_conflicting_labels_warn_and_block_beyond_the_share() -> None:
    splits = {"train": [*CLEAN["train"], ("train qoraal 0 a", "b")]}
    assert check("conflicting_labels", splits, max_conflicting_fraction=0.5).warns
    result = check("conflicting_labels", splits)
    assert result.blocks
    assert result.rows == 2


def test_a_text_in_two_splits_blocks() -> None:
    result = check("split_leakage", {"test": [*CLEAN["test"], ("Train qoraal 3 b.", "b")]})
    assert result.blocks
    assert result.message.startswith("1 row of test with a text of train")


def test_a_group_in_two_splits_blocks() -> None:
    splits = {split: split_rows(split, rows) for split, rows in CLEAN.items()}
    for rows in splits.values():
        rows.frame = rows.frame.with_columns(extra_author=pl.lit("same"))
    result = split_leakage(Dataset(splits, ("a", "b"), 2, 40, DataConfig(group_column="author")))
    assert result.check.blocks
    assert "with a group of train" in result.check.message
    assert result.columns["test"].sum() == 20


def test_imbalance_and_rare_labels_warn() -> None:
    rows = [(f"qoraal {number}", "a" if number % 8 else "b") for number in range(64)]
    result = check("class_balance", {"train": rows})
    assert result.warns
    assert result.value == pytest.approx(7.0)
    assert "fewer than 10 rows of b" in result.message
    rare = check("class_balance", {"train": rows}, imbalance_ratio=8)
    assert (rare.value, rare.bound, rare.threshold) == (8, Bound.AT_LEAST, 10)


def test_truncation_warns() -> None:
    result = check("truncation", max_length=7)
    assert result.warns
    assert result.value == pytest.approx(1.0)
    assert result.rows == 60


@pytest.mark.parametrize(
    ("labels", "settings", "value", "said"),
    [
        ("ab" * 147, {}, 0.0535, "this test split of 294 rows can show differences of 5.5 points "
         "or more; to show 3 points, label about 700 more test rows"),
        ("a" * 950 + "b" * 50, {}, 0.0656, "3 points of accuracy and 7 points of macro-F1 or more"),
        ("ab" * 147, {"max_detectable_difference": 0.03, "wanted_detectable_difference": 0.06},
         0.0535, "differences of 5.5 points or more"),
        ("ab", {}, 1.0, "no difference at all"),
        ("", {}, 1.0, "of 0 rows"),
    ],
)  # fmt: skip
def test_what_a_test_split_can_show(
    labels: str, settings: dict[str, float], value: float, said: str
) -> None:
    rows = [(f"qoraal {number}", label) for number, label in enumerate(labels)]
    result = check("test_power", {"test": rows}, **settings)
    assert result.warns
    assert result.value == pytest.approx(value, abs=0.0005)
    assert said in result.message
    assert ("to show" in result.message) is ("wanted_detectable_difference" not in settings)


def test_a_large_test_split_passes() -> None:
    result = check("test_power", {"test": [(f"qoraal {n}", "ab"[n % 2]) for n in range(1000)]})
    assert not result.warns
    assert "differences of 3 points or more" in result.message
