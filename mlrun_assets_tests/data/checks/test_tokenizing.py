from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks import suite as registry
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.content import tokenizer_fit, tokens_per_word
from mlrun_assets.data.reading import SplitRows
from mlrun_assets.records import CheckOutcome, QualityCheck

Counted = tuple[str, str, int, int]
SCHEMA = {"text": pl.String, "label": pl.String, "tokens": pl.Int64, "unknown": pl.Int64}
GOOD: list[Counted] = [("Waa qoraal kale", label, 8, 0) for label in ("a", "b")] * 10


def frame(rows: list[Counted]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def dataset(rows: list[Counted], **changes: Any) -> Dataset:
    quality = changes.pop("quality", {})
    splits = {
        split: SplitRows(split, f"{split}.jsonl", len(rows), frame(rows))
        for split in ("train", "val", "test")
    }
    return Dataset(splits, ("a", "b"), 2, 40, DataConfig(quality=quality), **changes)


def fit(rows: list[Counted], **changes: Any) -> QualityCheck:
    return tokenizer_fit(dataset(rows, special_tokens=2, **changes))


def test_a_tokenizer_that_knows_the_words_passes() -> None:
    result = fit(GOOD)
    assert result.outcome is CheckOutcome.PASSED
    assert result.value == pytest.approx(2.0)


def test_too_many_tokens_a_word_warn() -> None:
    result = fit([(text, label, 12, 0) for text, label, _, _ in GOOD])
    assert result.warns
    assert result.value == pytest.approx(10 / 3)
    assert "3.33 tokens per word in all texts" in result.message and "model.name" in result.message
    assert not fit([(text, label, 12, 0) for text, label, _, _ in GOOD],
                   quality={"max_tokens_per_word": 3.5}).warns  # fmt: skip


def test_one_label_that_the_tokenizer_does_not_fit_warns() -> None:
    rows = [(text, label, 11 if label == "b" else 6, 0) for text, label, _, _ in GOOD]
    result = fit(rows)
    assert result.warns
    assert "3.00 tokens per word in the texts of `b`" in result.message
    assert not fit(rows, quality={"min_rows_per_label": 31}).warns


def test_unknown_tokens_warn() -> None:
    result = fit([*GOOD, ("Waa qoraal kale", "a", 8, 4)])
    assert result.warns
    assert result.rows == 3
    assert "2.4% of the tokens are unknown" in result.message


def test_no_rows_and_no_words() -> None:
    assert fit(GOOD[:0]).outcome is CheckOutcome.PASSED
    assert tokens_per_word(frame([("  ", "a", 2, 0), ("Waa", "b", 4, 0)]), 2) == {"b": 2.0}


def test_without_a_tokenizer_what_needs_one_is_off() -> None:
    bare = dataset(GOOD, token_problem="no tokenizer")
    assert set(registry.ON_TOKENS) == {"truncation", "tokenizer_fit"}
    found = registry._run("tokenizer_fit", tokenizer_fit, bare).check
    assert found.outcome is CheckOutcome.OFF
    assert found.message == "no token counts: no tokenizer"
