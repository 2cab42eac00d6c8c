"""Lengths, personal data, encoding and tokenizer fit."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.content import tokenizer_fit, tokens_per_word
from mlrun_assets.data.checks.suite import CHECKS, run_check
from mlrun_assets.data.reading import SplitRows
from mlrun_assets.data.rows import NOT_UTF8, QuarantinedRow
from mlrun_assets.records import CheckOutcome, QualityCheck, SourceFile
from mlrun_assets_tests.examples import SOMALI, check_texts, dataset_of


def test_a_text_of_one_word_warns() -> None:
    result = check_texts("empty_or_short", [*SOMALI, "Haa", "Haa waa"])
    assert result.warns
    assert (result.rows, result.value) == (1, 1)
    assert result.message.startswith("1 text with fewer than 2 words")
    assert not check_texts("empty_or_short", ["Haa"], min_words=1).warns


def test_a_text_of_too_many_characters_warns() -> None:
    result = check_texts("too_long", [*SOMALI, "qoraal " * 20_000])
    assert result.warns
    assert (result.rows, result.value) == (1, 139_999)
    assert not check_texts("too_long", SOMALI).warns
    assert check_texts("too_long", SOMALI, max_characters=40).rows == 3 * len(SOMALI)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ii soo qor asha.cali@tusaale.so maanta", "1 e-mail address"),
        ("Wac +252 61 234 5678 ama 061-234-5678", "2 phone numbers"),
        ("Wac +252612345678, (0612345678)", "2 phone numbers"),
        ("Ka eeg https://tusaale.so/a?b=1 iyo www.tusaale.so", "2 URLs"),
    ],
)
def test_what_identifies_a_person_is_counted(text: str, said: str) -> None:
    result = check_texts("pii", [*SOMALI, text])
    assert result.warns
    assert result.message.startswith(f"{said} in 1 row")
    assert result.rows == 1


@pytest.mark.parametrize(
    "text",
    [
        "Sannadihii 1991-2012 iyo 2019 2020 2021",
        "Lacag dhan 1,500,000 iyo 250000000 oo doolar",
        "Natiijada 3-2 iyo 10-ka Sebteembar 2021-09-10, 0.05",
        "@isticmaale ayaa yiri a @ b",
    ],
)
def test_years_amounts_and_scores_are_no_phone_numbers(text: str) -> None:
    assert not check_texts("pii", [*SOMALI, text]).warns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CafÃ© cusub oo magaalada laga furay", "1 mojibake"),
        ("Wuxuu yiri â€œhaaâ€\u009d markii la weydiiyay", "1 mojibake, 1 control characters"),
        ("Magaalada \ufffd waa la gaaray", "1 U+FFFD"),
        ("Ta ce ha?a ne, ya?anci", "1 question marks within words"),
        ("Magaalada\u0007 waa la gaaray", "1 control characters"),
        ("Cafe\u0301 cusub", "1 not NFC"),
        ("M\ufeffareykanku waa yimid", "1 invisible characters"),
        ("Waa\u00a0la arkay", "1 no-break spaces"),
        ("Waa&nbsp;la arkay &amp; waa la maqlay", "1 HTML entities"),
        ("Waa la arkay &#39;maanta&#x27;", "1 HTML entities"),
        ("Waa la arkay<br/>maanta", "1 HTML tags"),
        ('Waa <a href="x">la arkay</a> &quot;', "1 HTML entities, 1 HTML tags"),
    ],
)
def test_each_trace_is_named_and_counted(text: str, said: str) -> None:
    result = check_texts("encoding", [*SOMALI, text])
    assert result.warns
    assert f"1 row (7.7 %), by kind: {said};" in result.message.replace("8.3 %", "7.7 %")
    assert result.rows == 1


@pytest.mark.parametrize(
    "text",
    [
        "5 < 6 & 7 > 3",
        "Ma haa? maya? waa?",
        "waa https://a.so/b?c=d",
        "ka eeg <url> <i7> &;",
        "a <- b",
    ],
)
def test_masks_and_signs_are_meant(text: str) -> None:
    assert not check_texts("encoding", [*SOMALI, text]).warns


def test_rows_that_are_not_utf8_are_traces_of_a_wrong_encoding() -> None:
    bad = QuarantinedRow("train", "train.csv", 2, *NOT_UTF8, "?")
    dataset = dataset_of(SOMALI, DataConfig())
    dataset.splits["train"].quarantined.add(bad.reason, [bad])
    result = run_check("encoding", CHECKS["encoding"], dataset).check
    assert result.warns
    assert "1 row (7.7 %), by kind: 1 not UTF-8;" in result.message


def test_a_guessed_encoding_is_said() -> None:
    dataset = dataset_of(SOMALI, DataConfig())
    file = SourceFile(name="a.csv", digest="", size_bytes=1, rows_read=4, encoding="Windows-1252")
    dataset.splits["train"].files = (file,)
    result = run_check("encoding", CHECKS["encoding"], dataset).check
    assert result.warns and result.rows == 4
    assert "by kind: 4 read as Windows-1252;" in result.message


def test_apostrophes_of_two_kinds_are_mixed() -> None:
    result = check_texts("encoding", ["Go'aan iyo lo'da", "Go\u2019aanka", "Ra'yiga", "Su`aasha"])
    assert result.warns
    assert "2 mixed apostrophes" in result.message


@pytest.mark.parametrize(
    "texts",
    [
        ["Go\u2019aan iyo lo\u2019da", "Ra\u2019yiga"],
        ["Wuxuu yiri \u2018haa\u2019, go'aankuna waa kaas"],
        ["Café, naïve, à la carte: «entrée» 5 €", "مرحبا بالعالم"],
        ["Cinwaan\nQoraal\tkale"],
    ],
)
def test_texts_that_are_meant_so_pass(texts: list[str]) -> None:
    result = check_texts("encoding", texts)
    assert not result.warns
    assert result.message == "no trace of a wrong encoding"


Counted = tuple[str, str, int, int]
SCHEMA = {"text": pl.String, "label": pl.String, "tokens": pl.Int64, "unknown": pl.Int64}
GOOD: list[Counted] = [("Waa qoraal kale", label, 8, 0) for label in ("a", "b")] * 10


def frame(rows: list[Counted]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def fit(rows: list[Counted], **quality: Any) -> QualityCheck:
    splits = {name: SplitRows(name, "", frame(rows)) for name in ("train", "val", "test")}
    data = DataConfig(quality=quality)
    return tokenizer_fit(Dataset(splits, ("a", "b"), 2, 40, data, special_tokens=2))


def test_too_many_tokens_a_word_warn() -> None:
    assert fit(GOOD).value == pytest.approx(2.0)
    rows = [(text, label, 12, 0) for text, label, _, _ in GOOD]
    result = fit(rows)
    assert result.warns
    assert result.value == pytest.approx(10 / 3)
    assert "3.33 tokens per word in all texts" in result.message and "model.name" in result.message
    assert not fit(rows, max_tokens_per_word=3.5).warns


def test_one_label_that_the_tokenizer_does_not_fit_warns() -> None:
    rows = [(text, label, 11 if label == "b" else 6, 0) for text, label, _, _ in GOOD]
    result = fit(rows)
    assert result.warns
    assert "3.00 tokens per word in the texts of `b`" in result.message
    assert not fit(rows, min_rows_per_label=31).warns


def test_unknown_tokens_warn() -> None:
    result = fit([*GOOD, ("Waa qoraal kale", "a", 8, 4)])
    assert result.warns
    assert result.rows == 3
    assert "2.4 % of the tokens are unknown" in result.message


def test_no_rows_and_no_words() -> None:
    assert fit(GOOD[:0]).outcome is CheckOutcome.PASSED
    assert tokens_per_word(frame([("  ", "a", 2, 0), ("Waa", "b", 4, 0)]), 2) == {"b": 2.0}
