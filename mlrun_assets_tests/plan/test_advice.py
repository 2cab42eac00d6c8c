from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.plan.plan import ADVICE
from mlrun_assets.records import Advice
from mlrun_assets_tests.examples import LAPTOP, plan

REPOSITORY = Path(__file__).parents[2]
CUT = {"truncated_fraction": 0.11, "tokens_p95": 300.0, "tokens_median": 90.0, "tokens_max": 2_000}


def advice(topic: str, *arguments: Any, **keywords: Any) -> Advice | None:
    given = plan(*arguments, **keywords).advice
    return next((each for each in given if each.topic == topic), None)


def sentence(*arguments: Any, **keywords: Any) -> str:
    given = advice(*arguments, **keywords)
    assert given is not None
    return given.sentence


def test_a_single_seed_is_warned_about_on_small_data() -> None:
    assert "One seed on 1,998 rows" in sentence("seed", {"a": 999, "b": 999})
    assert advice("seed", {"a": 1_000, "b": 1_000}) is None
    assert advice("seed", training={"seeds": [1, 2]}) is None
    assert advice("seed", training={"seeds": [1]}) is not None


@pytest.mark.parametrize(
    ("fewest", "said"),
    [(49, "has 49 training rows"), (2, "has 2 training rows"), (1, "label more"), (0, "has no")],
)
def test_rare_labels(fewest: int, said: str) -> None:
    assert said in sentence("rare_label", {"a": 90, "b": fewest})


@pytest.mark.parametrize("language", ["som", "swa"])
def test_a_figure_has_its_language_and_the_note_that_has_it(language: str) -> None:
    made = plan({"a": 90, "b": 1}, profile=CUT, data={"language": language})
    said = [each.sentence for each in made.advice]
    assert {each.topic for each in made.advice} == set(ADVICE)
    said += [choice.evidence for choice in made.choices] + [
        choice.reason for choice in made.choices
    ]
    for text in said:
        notes = re.findall(r"docs/decisions/\S+?\.md", text)
        of_scores = "macro-F1" in text and re.search(r"\d+\.\d", text)
        assert bool(notes) == bool(of_scores)
        assert bool(notes) == ("Somali" in text)
        for note in notes:
            told = (REPOSITORY / note).read_text(encoding="utf-8")
            figures = re.findall(r"\d+\.\d+", text)
            assert figures and [figure for figure in figures if figure not in told] == []


@pytest.mark.parametrize("text", ["advice", "evidence"])
def test_an_effect_whose_interval_spans_zero_is_not_shown(text: str) -> None:
    made = plan({"a": 90, "b": 90})
    said = [each.sentence for each in made.advice]
    if text == "evidence":
        said = [choice.evidence for choice in made.choices]
    unsure = [each for each in said if re.search(r"\[-\d+\.\d+, \+", each)]
    assert unsure
    assert all("not shown" in each for each in unsure)


def test_fifty_rows_are_not_rare() -> None:
    assert advice("rare_label", {"a": 90, "b": 50}) is None


def test_cut_texts_have_advice_with_the_figures_behind_it() -> None:
    said = sentence("truncation", profile=CUT)
    assert "11% of the training texts are longer than model.max_length, 128 tokens" in said
    assert "median 90, 95th percentile 300, longest 2,000" in said
    assert "With model.max_length 320" in said


@pytest.mark.parametrize("cut", [0.10, 0.0, float("nan")])
def test_few_cut_texts_are_no_matter(cut: float) -> None:
    assert advice("truncation", profile={**CUT, "truncated_fraction": cut}) is None


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["text"], "If the rows have a headline"),
        (["text", "Title"], "Put Title first in data.text_columns"),
        (["headline", "text"], None),
    ],
)
def test_the_headline_comes_first(columns: list[str], said: str | None) -> None:
    told = sentence("truncation", profile=CUT, data={"text_columns": columns})
    assert said in told if said else "headline" not in told


@pytest.mark.parametrize(
    ("positions", "length", "said"),
    [
        (None, 128, "With model.max_length 320"),
        (320, 128, "With model.max_length 320"),
        (319, 128, "can be 319 at most"),
        (128, 128, "The encoder reads no more"),
        (512, 320, "With model.max_length 352"),
    ],
)
def test_a_longer_length_is_one_that_the_encoder_reads(
    positions: int | None, length: int, said: str
) -> None:
    machine = replace(LAPTOP, positions=positions)
    model = {"max_length": length}
    assert said in sentence("truncation", circumstances=machine, profile=CUT, model=model)
