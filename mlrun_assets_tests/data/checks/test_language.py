from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.language import (
    DETECTORS,
    add_language,
    counted_as,
    load_detector,
)
from mlrun_assets.data.text import language_tag
from mlrun_assets.records import CheckOutcome
from mlrun_assets_tests.examples import ENGLISH, SOMALI, check_texts

MIXED = "Waxaa la ii sheegay in the final match of the season will be played in the new stadium"


@pytest.mark.parametrize("detector", DETECTORS)
def test_rows_in_another_language_warn_and_block_beyond_the_share(detector: str) -> None:
    settings = {"language_detector": detector}
    warns = check_texts("language", [*SOMALI * 10, ENGLISH[0], ENGLISH[1]], **settings)
    assert warns.warns
    assert warns.rows == 2
    assert warns.value == pytest.approx(2 / 42)
    assert "2 `en`; remove them" in warns.message
    assert "data.quality.other_language_warns" in warns.message
    blocks = check_texts("language", [*SOMALI, ENGLISH[0]], **settings)
    assert blocks.blocks
    assert blocks.threshold == pytest.approx(0.10)
    assert "data.quality.other_language_blocks" in blocks.message


@pytest.mark.parametrize("detector", DETECTORS)
def test_all_codes_of_a_language_give_the_same_check(detector: str) -> None:
    texts = ["שלום לכולם, היום נלמד על ההיסטוריה של העיר הגדולה הזאת ביחד"] * 20
    for code in ("he", "heb", "iw"):
        result = check_texts("language", texts, language=code, language_detector=detector)
        assert result.rows == 8  # the other two splits are Somali


@pytest.mark.parametrize("detector", DETECTORS)
def test_somali_short_and_mixed_rows_are_no_other_language(detector: str) -> None:
    texts = [*SOMALI, "The national team", MIXED]
    result = check_texts("language", texts, language_detector=detector)
    assert result.outcome is CheckOutcome.PASSED
    assert result.rows == 0


def test_another_language_than_somali() -> None:
    assert check_texts("language", ENGLISH, language="eng").blocks  # val and test are Somali
    result = check_texts("language", ENGLISH, language="swa")
    assert "train" in result.message and result.value == 1.0


def test_a_language_that_the_detector_does_not_know_is_not_judged() -> None:
    result = check_texts("language", ENGLISH, language="gez")
    assert result.outcome is CheckOutcome.OFF
    assert result.message == "pycld2 knows no language `gez`; rows are not judged"
    other = check_texts("language", ENGLISH, language="kab")
    assert other.message.endswith("; set data.quality.language_detector to py3langid")


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        ("nob", ["no", "nn"]),
        ("nor", ["no", "nn"]),
        ("nno", ["nn"]),
        ("msa", ["ms", "id"]),
        ("zsm", ["ms", "id"]),
        ("ind", ["id"]),
        ("ary", ["ar"]),
        ("arb", ["ar"]),
        ("cmn", ["zh"]),
        ("swh", ["sw"]),
        ("iw", ["he"]),
        ("ji", ["yi"]),
        ("in", ["id"]),
        ("jw", ["jv"]),
        ("gez", []),
    ],
)
def test_languages_of_a_macrolanguage_count_as_one(code: str, counted: list[str]) -> None:
    assert counted_as(language_tag(code), load_detector("pycld2").languages) == counted


@pytest.mark.parametrize("detector", DETECTORS)
def test_addresses_users_and_topics_are_no_language(detector: str) -> None:
    data = DataConfig.model_validate({"quality": {"language_detector": detector}})
    texts = [
        "@user Waa ku mahadsan tahay walaal qaali #BreakingNews https://t.co/aBcDeFgHiJ",
        "@user @other #Breaking #News https://t.co/aBcDeFgHiJ www.example.com a@b.org",
        "1 2 3 4 5 6 7 8 ... !!! 😀 😀",
    ]
    frame = add_language(pl.DataFrame({"text": texts}), data)
    assert frame["language"].to_list() == ["so", None, None]


def tweets(texts: list[str]) -> list[str]:
    """Eight words from the middle of each text, in lower case and without punctuation."""
    words = [re.sub(r"[^\w\s']", "", text.lower()).split() for text in texts]
    return [" ".join(each[len(each) // 3 :][:8]) for each in words]


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("hau", "sib200_hau/*.jsonl"),
        ("yor", "sib200_yor/*.jsonl"),
        ("run", "masakhanews_run/*.jsonl"),
        ("kin", "sib200_kin/*.jsonl"),
        ("swa", "sib200_other/swh_Latn.jsonl"),
    ],
)
def test_short_noisy_texts_are_seldom_called_another_language(
    code: str, pattern: str, detector: str, shared_data: Path
) -> None:
    texts = tweets(published(shared_data, pattern))
    data = DataConfig.model_validate({"language": code, "quality": {"language_detector": detector}})
    counted = counted_as(language_tag(code), load_detector(detector).languages)
    judged = add_language(pl.DataFrame({"text": texts}), data)["language"].drop_nulls()
    if counted:
        assert (~judged.is_in(counted)).mean() <= 0.02
    english = tweets(published(shared_data, "sib200_other/eng_Latn.jsonl"))
    if counted:
        judged = add_language(pl.DataFrame({"text": english}), data)["language"].drop_nulls()
        assert (judged == "en").mean() >= 0.97


def test_mixed_rows_are_counted_by_label_and_never_block() -> None:
    result = check_texts("code_switching", [*SOMALI, MIXED])
    assert result.outcome is CheckOutcome.PASSED
    assert result.rows == 1
    assert result.message.startswith("1 row (7.7 %) in `som` and another language")
    assert "14.3 % of a" in result.message
    assert check_texts("code_switching", SOMALI).message == "no row mixes two languages"


def test_mixing_can_not_be_told_without_function_words() -> None:
    assert check_texts("code_switching", ENGLISH, language="eng").outcome is CheckOutcome.OFF


def test_mixed_rows_are_tagged_and_kept() -> None:
    frame = add_language(
        pl.DataFrame({"text": [SOMALI[0], MIXED, ENGLISH[0], "Haa"]}), DataConfig()
    )
    assert frame["language"].to_list() == ["so", "en", "en", None]
    assert frame["code_switched"].to_list() == [False, True, False, False]


def test_no_detector_runs_when_nothing_asks() -> None:
    data = DataConfig.model_validate({"quality": {"skip": ("language", "code_switching")}})
    frame = add_language(pl.DataFrame({"text": [ENGLISH[0]]}), data)
    assert frame["language"].to_list() == [None]
    assert frame["code_switched"].to_list() == [False]


@pytest.mark.parametrize("detector", DETECTORS)
def test_no_text_stops_a_detector(detector: str) -> None:
    languages = load_detector(detector).languages | {"un"}
    data = DataConfig.model_validate(
        {"quality": {"language_detector": detector, "min_language_words": 1}}
    )

    @given(st.lists(st.text(), max_size=3))
    def judge(texts: list[str]) -> None:
        frame = add_language(pl.DataFrame({"text": texts}, schema={"text": pl.String}), data)
        assert frame.height == len(texts)
        codes = set(frame["language"].drop_nulls())
        assert all(code in languages or code.startswith("xx-") for code in codes)

    judge()


def test_detectors_know_somali_from_oromo() -> None:
    for name in DETECTORS:
        assert {"so", "om", "en", "sw", "ar"} <= load_detector(name).languages


def accepted(texts: list[str], detector: str) -> float:
    """Share of the judged texts that the check takes for Somali, whole or in part."""
    data = DataConfig.model_validate({"quality": {"language_detector": detector}})
    judged = add_language(pl.DataFrame({"text": texts}), data).drop_nulls("language")
    return judged.select(((pl.col("language") == "so") | pl.col("code_switched")).mean()).item()


def published(directory: Path, pattern: str, column: str = "text") -> list[str]:
    return [
        json.loads(line)[column]
        for file in sorted(directory.glob(pattern))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("detector", DETECTORS)
def test_published_somali_is_kept_and_other_languages_are_not(
    detector: str, shared_data: Path
) -> None:
    assert accepted(published(shared_data, "sib200_som/*.jsonl"), detector) >= 0.99
    assert accepted(published(shared_data, "masakhanews_som/*.jsonl", "headline"), detector) >= 0.99
    assert accepted(published(shared_data, "sib200_other/gaz_Latn.jsonl"), detector) <= 0.01
    for other in ("swh_Latn", "eng_Latn", "arb_Arab"):
        assert accepted(published(shared_data, f"sib200_other/{other}.jsonl"), detector) == 0.0
