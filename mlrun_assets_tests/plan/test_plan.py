"""The plan as a whole: every field is decided, the config overrides the rules; the advice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.errors import ConfigError
from mlrun_assets.plan.plan import ADVICE_TOPICS, plan_training
from mlrun_assets.plan.rules import apply_rules
from mlrun_assets.records import Recipe, TrainingPlan
from mlrun_assets_tests.examples import LAPTOP, choice, plan, planning_inputs, prior_run

REPOSITORY = Path(__file__).parents[2]
CUT = {"truncated_fraction": 0.11, "tokens_p95": 300.0, "tokens_median": 90.0, "tokens_max": 2_000}
IN_THE_CONFIG = {
    "batch_size": st.integers(1, 512),
    "learning_rate": st.floats(1e-7, 0.5),
    "epochs": st.integers(1, 100),
    "short_epochs": st.integers(0, 1),
    "warmup_fraction": st.floats(0.0, 0.9),
    "layerwise_decay": st.floats(0.1, 1.0),
    "label_smoothing": st.floats(0.0, 0.9),
    "class_weights": st.sampled_from(["none", "balanced", "sqrt"]),
    "freeze": st.sampled_from(["none", "embeddings", "encoder", 0, 3, 12]),
    "bf16": st.booleans(),
}
SECTIONS = st.fixed_dictionaries({}, optional=IN_THE_CONFIG)
LABEL_ROWS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3_000), min_size=2)


def test_every_field_of_the_recipe_is_a_choice_with_a_reason_and_evidence() -> None:
    choices = plan().choices
    assert all(each.reason and each.evidence and each.value != "auto" for each in choices)
    renamed = {"name": "encoder", "seeds": "seed"}
    keys = [each.key.rpartition(".")[2] for each in choices]
    assert sorted(renamed.get(key, key) for key in keys) == sorted(Recipe.model_fields)


def test_every_setting_that_may_be_auto_has_a_rule() -> None:
    inputs = planning_inputs()
    sections = inputs.config.model_dump(include={"model", "training"})
    auto = {
        f"{section}.{key}"
        for section, values in sections.items()
        for key, value in values.items()
        if value == "auto"
    }
    assert auto == {key for key in apply_rules(inputs) if "." in key}


@settings(deadline=None)
@given(LABEL_ROWS, SECTIONS)
def test_a_plan_depends_on_its_inputs_only_and_a_value_in_the_config_always_wins(
    rows: dict[str, int], section: dict[str, Any]
) -> None:
    inputs = planning_inputs(rows, training=section)
    made = plan_training(inputs)
    assert plan_training(inputs) == made
    assert TrainingPlan.model_validate_json(made.model_dump_json()) == made
    for key, value in section.items():
        assert key == "class_weights" or getattr(made.recipe, key) == value
        assert choice(made, key).source == "config"


def test_every_change_of_the_training_changes_the_digest() -> None:
    digests = {
        plan(training=section).recipe_digest
        for section in ({}, {"seed": 1}, {"seeds": [42, 43]}, {"seeds": [43, 42]}, {"epochs": 3})
    }
    assert len(digests) == 5
    assert plan(training={"seeds": [42]}).recipe_digest == plan().recipe_digest


def test_one_recipe_per_seed() -> None:
    made = plan(training={"seed": 7, "seeds": [13, 42]})
    assert [recipe.seed for recipe in made.recipes] == [13, 42]
    assert made.recipes[0] == made.recipe
    assert choice(made, "seeds").value == "13, 42"
    assert [recipe.seed for recipe in plan(training={"seed": 7}).recipes] == [7]


def test_a_setting_records_whether_it_is_the_default() -> None:
    assert choice(plan(), "weight_decay").reason == "the default"
    made = choice(plan(training={"weight_decay": 0.1}), "weight_decay")
    assert (made.value, made.reason) == ("0.1", "set in the config")


def test_more_layers_than_the_encoder_has_can_not_be_frozen() -> None:
    with pytest.raises(ConfigError, match=r"freeze is 13.* 12 layers"):
        plan(training={"freeze": 13})


def test_a_label_with_one_row_or_none_still_has_a_plan() -> None:
    assert plan({"a": 40, "b": 1}).recipe.class_weights is not None
    assert plan({"a": 40, "b": 0}).recipe.class_weights == pytest.approx((0.71, 4.53), abs=0.01)


# Advice

FINE_TUNED = {"model": {"candidates": ["encoder"]}}


def sentence(topic: str, *arguments: Any, **keywords: Any) -> str | None:
    """The advice on a topic, if there is any."""
    advice = plan(*arguments, **keywords).advice
    return next((each.sentence for each in advice if each.topic == topic), None)


def test_a_single_seed_on_small_data_has_advice() -> None:
    assert "1,998 rows" in sentence("seed", {"a": 999, "b": 999}, **FINE_TUNED)
    assert sentence("seed", {"a": 1_000, "b": 1_000}, **FINE_TUNED) is None
    assert sentence("seed", training={"seeds": [1, 2]}, **FINE_TUNED) is None
    assert sentence("seed", training={"seeds": [1]}, **FINE_TUNED) is not None
    assert sentence("seed") is None, "nothing is fine-tuned"


@pytest.mark.parametrize(
    ("rows", "keyword"),
    [(49, "49 training rows."), (1, "1 training row."), (1, "label more"), (0, "no training row")],
)
def test_rare_labels(rows: int, keyword: str) -> None:
    assert keyword in sentence("rare_label", {"a": 90, "b": rows})
    assert sentence("rare_label", {"a": 90, "b": 50}) is None


@pytest.mark.parametrize("language", ["som", "swa"])
def test_a_figure_names_its_language_and_its_decision_note(language: str) -> None:
    config = {"data": {"language": language}, **FINE_TUNED}
    made = plan({"a": 90, "b": 30}, profile=CUT, prior=(prior_run(),), **config)
    assert [each.topic for each in made.advice] == list(ADVICE_TOPICS)
    texts = [each.sentence for each in made.advice]
    texts += [text for each in made.choices for text in (each.evidence, each.reason)]
    for text in texts:
        notes = re.findall(r"docs/decisions/\S+?\.md", text)
        of_scores = "macro-F1" in text and re.search(r"\d+\.\d", text)
        assert bool(of_scores) == ("Somali" in text)
        assert notes or not of_scores
        for note in notes if of_scores else ():
            source = (REPOSITORY / note).read_text(encoding="utf-8")
            figures = re.findall(r"\d+\.\d+", text)
            assert figures and [figure for figure in figures if figure not in source] == []


@pytest.mark.parametrize("cut", [0.10, 0.0, float("nan")])
def test_advice_on_cut_texts_gives_the_figures(cut: float) -> None:
    figures = re.findall(r"[\d,]*\d(?: %)?", sentence("truncation", profile=CUT))
    assert figures[:6] == ["11 %", "128", "90", "95", "300", "2,000"]
    assert sentence("truncation", profile={**CUT, "truncated_fraction": cut}) is None


@pytest.mark.parametrize(
    ("columns", "keyword"),
    [(["text"], "have a headline"), (["text", "Title"], "Title"), (["headline", "text"], None)],
)
def test_the_headline_comes_first(columns: list[str], keyword: str | None) -> None:
    advised = sentence("truncation", profile=CUT, data={"text_columns": columns})
    assert keyword in advised if keyword else "headline" not in advised


@pytest.mark.parametrize(
    ("positions", "length", "keyword"),
    [
        (None, 128, "max_length 320"),
        (320, 128, "max_length 320"),
        (319, 128, "319 at most"),
        (128, 128, "can't read more"),
        (512, 320, "max_length 352"),
    ],
)
def test_the_advised_length_is_one_that_the_encoder_can_read(
    positions: int | None, length: int, keyword: str
) -> None:
    given = {"hardware": replace(LAPTOP, positions=positions), "model": {"max_length": length}}
    assert keyword in sentence("truncation", profile=CUT, **given)
