"""The plan as a whole: every field decided, the config over the rules, nothing left to chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.errors import ConfigError
from mlrun_assets.plan.plan import ADVICE_TOPICS, RULES, plan_training
from mlrun_assets.records import Recipe, TrainingPlan, UnlabelledTexts
from mlrun_assets_tests.examples import choice, plan, prior_run, situation

IN_THE_CONFIG = {
    "batch_size": st.integers(1, 512),
    "learning_rate": st.floats(1e-7, 0.5),
    "epochs": st.integers(1, 100),
    "early_stopping_patience": st.integers(0, 20),
    "warmup_fraction": st.floats(0.0, 0.9),
    "layerwise_decay": st.floats(0.1, 1.0),
    "label_smoothing": st.floats(0.0, 0.9),
    "class_weights": st.sampled_from(["none", "balanced", "sqrt"]),
    "freeze": st.sampled_from(["none", "embeddings", "encoder", 0, 3, 12]),
    "bf16": st.booleans(),
}
SECTIONS = st.fixed_dictionaries({}, optional=IN_THE_CONFIG)
LABEL_ROWS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3_000), min_size=2)


def test_every_choice_has_a_reason_and_evidence() -> None:
    for each in plan().choices:
        assert each.reason and each.evidence and each.value != "auto"


def test_every_field_of_the_recipe_stands_in_the_table() -> None:
    called = {"name": "encoder", "seeds": "seed"}
    told = [each.key.rpartition(".")[2] for each in plan().choices]
    assert sorted(called.get(key, key) for key in told) == sorted(Recipe.model_fields)


def test_what_may_be_auto_has_a_rule() -> None:
    sections = situation().config.model_dump(include={"model", "training"})
    auto = {
        f"{section}.{key}"
        for section, values in sections.items()
        for key, value in values.items()
        if value == "auto"
    }
    assert auto == {key for key in RULES if "." in key}


@settings(deadline=None)
@given(LABEL_ROWS, SECTIONS)
def test_a_value_in_the_config_always_wins(rows: dict[str, int], section: dict[str, Any]) -> None:
    made = plan(rows, training=section)
    for key, value in section.items():
        if key != "class_weights":
            assert getattr(made.recipe, key) == value
        told = choice(made, key)
        assert told.source == "config"
        assert "the rule says" in told.evidence


@settings(deadline=None)
@given(LABEL_ROWS, SECTIONS)
def test_the_same_situation_gives_the_same_plan(
    rows: dict[str, int], section: dict[str, Any]
) -> None:
    made = situation(rows, training=section)
    assert plan_training(made) == plan_training(made)
    assert TrainingPlan.model_validate_json(plan_training(made).model_dump_json()) == plan_training(
        made
    )


def test_what_trains_otherwise_has_another_digest() -> None:
    digests = {
        plan(training=section).recipe_digest
        for section in ({}, {"seed": 1}, {"seeds": [42, 43]}, {"seeds": [43, 42]}, {"epochs": 3})
    }
    assert len(digests) == 5
    assert plan(training={"seeds": [42]}).recipe_digest == plan().recipe_digest


def test_pretraining_and_the_texts_that_it_reads_are_part_of_the_recipe() -> None:
    made = situation(training={"pretraining_epochs": 4})
    texts = UnlabelledTexts(
        files=(),
        file="data/unlabelled.parquet",
        digest=f"sha256:{'7' * 64}",
        rows_read=900,
        rows_kept=880,
        left_out={"stands twice": 20},
    )
    dataset = made.dataset.model_copy(update={"unlabelled": texts})
    with_texts = plan_training(replace(made, dataset=dataset))
    assert with_texts.recipe.pretraining_epochs == 4
    assert with_texts.recipe.unlabelled_digest == f"sha256:{'7' * 16}"
    told = choice(with_texts, "pretraining_epochs")
    assert told.evidence == "reads 400 training rows and 880 texts without labels"
    assert choice(plan(), "pretraining_epochs").value == "0"
    digests = {each.recipe_digest for each in (with_texts, plan_training(made), plan())}
    assert len(digests) == 3
    unread = situation()
    listed = replace(unread, dataset=unread.dataset.model_copy(update={"unlabelled": texts}))
    assert plan_training(listed).recipe_digest == plan().recipe_digest
    assert choice(plan_training(listed), "unlabelled_digest").evidence.endswith("reads them")


def test_one_recipe_a_seed() -> None:
    made = plan(training={"seed": 7, "seeds": [13, 42]})
    assert [recipe.seed for recipe in made.recipes] == [13, 42]
    assert made.recipes[0] == made.recipe
    assert choice(made, "seeds").value == "13, 42"
    assert [recipe.seed for recipe in plan(training={"seed": 7}).recipes] == [7]


def test_a_setting_says_whether_it_is_the_default() -> None:
    assert choice(plan(), "weight_decay").reason == "the default"
    made = choice(plan(training={"weight_decay": 0.1}), "weight_decay")
    assert (made.value, made.reason) == ("0.1", "set in the config")


@pytest.mark.parametrize("layers", [0, 12])
def test_the_lowest_layers_can_be_frozen(layers: int) -> None:
    assert plan(training={"freeze": layers}).recipe.freeze == layers


def test_more_layers_than_there_are_can_not() -> None:
    with pytest.raises(ConfigError, match=r"freeze is 13, and embedded:\S+ has 12 layers"):
        plan(training={"freeze": 13})


def test_a_label_with_one_row_or_none_still_has_a_plan() -> None:
    assert plan({"a": 40, "b": 1}).recipe.class_weights is not None
    assert plan({"a": 40, "b": 0}).recipe.class_weights == pytest.approx((0.71, 4.53), abs=0.01)


def test_advice_has_known_topics_and_issues_without_figures() -> None:
    cut = {"truncated_fraction": 0.5, "tokens_p95": 300.0}
    advice = plan({"a": 90, "b": 30}, profile=cut, prior=(prior_run(),)).advice
    assert tuple(each.topic for each in advice) == ADVICE_TOPICS
    assert not any("30" in each.issue for each in advice)
