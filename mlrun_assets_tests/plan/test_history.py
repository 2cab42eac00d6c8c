from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets_tests.examples import LAPTOP, choice, plan, prior_run


@pytest.mark.parametrize(
    "changes",
    [
        {"data_name": "other"},
        {"val_digest": "sha256:other"},
        {"val_f1_macro": None},
        {"learning_rate": None},
        {"learning_rate": 1e-4},
    ],
)
def test_learning_rates_that_can_not_be_compared_choose_nothing(changes: dict[str, Any]) -> None:
    other = prior_run("b", **{"learning_rate": 3e-4, "val_f1_macro": 0.99, **changes})
    assert choice(plan(prior=(prior_run("a"), other)), "learning_rate").source == "rule"


@pytest.mark.parametrize(
    "otherwise",
    [
        {"model": {"name": "xlm-roberta-base"}},
        {"model": {"ensemble": True}},
        {"training": {"freeze": "encoder"}},
        {"training": {"epochs": 1}},
        {"circumstances": replace(LAPTOP, encoder_digest="sha256:other files")},
    ],
)
def test_learning_rates_of_other_recipes_choose_nothing(otherwise: dict[str, Any]) -> None:
    recipe = plan(**otherwise).recipe
    other = prior_run("b", learning_rate=3e-4, comparable_digest=recipe.comparable_digest)
    assert choice(plan(prior=(prior_run("a"), other)), "learning_rate").source == "rule"


def test_a_machine_and_another_seed_leave_learning_rates_comparable() -> None:
    slow = plan(circumstances=replace(LAPTOP, bf16_speedup=1.0), training={"seed": 7}).recipe
    other = prior_run("b", learning_rate=3e-4, comparable_digest=slow.comparable_digest)
    tried = (prior_run("a", val_f1_macro=0.7), other)
    assert plan(prior=tried).recipe.learning_rate == 3e-4


def test_a_good_test_score_does_not_choose() -> None:
    tried = (
        prior_run("a", learning_rate=3e-4, val_f1_macro=0.79, f1=0.9),
        prior_run("b", learning_rate=1e-4, val_f1_macro=0.80, f1=0.1),
    )
    assert plan(prior=tried).recipe.learning_rate == 1e-4


def test_a_plan_that_ran_before_says_what_it_gave() -> None:
    known = prior_run(recipe_digest=plan().recipe_digest)
    assert "macro-F1 0.812" in plan(prior=(known,)).seen_before[0]
    other_data = known.model_copy(update={"data_digest": "other"})
    assert plan(prior=(other_data,)).seen_before == ()
    assert plan(prior=(known,), training={"seed": 7}).seen_before == ()
    other_files = replace(LAPTOP, encoder_digest="sha256:other")
    assert plan(prior=(known,), circumstances=other_files).seen_before == ()


def test_the_newest_checkpoint_of_the_same_plan_is_reused_where_asked_for() -> None:
    digest = plan().recipe_digest
    known = tuple(
        prior_run(name, recipe_digest=digest, **changes)
        for name, changes in {
            "no_checkpoint": {"val_f1_macro": None},
            "labels_otherwise": {"labels": ("b", "a")},
            "newest": {},
            "older": {},
        }.items()
    )
    assert plan(prior=known).reuse is None
    asked = plan(prior=known, training={"reuse": True})
    assert asked.reuse == "exp_newest"
    assert asked.recipe_digest == digest
    assert plan(prior=known, training={"reuse": True, "epochs": 2}).reuse is None


def test_what_was_rejected_is_told_with_its_reason() -> None:
    runs = [
        prior_run(f"run-{number}", verdict="REJECTED", verdict_reason=f"F1 0.7{number} is below")
        for number in range(7)
    ]
    runs[1] = prior_run("run-1", verdict="APPROVED")
    runs[2] = prior_run("run-2", verdict="REJECTED", data_name="other")
    runs[3] = prior_run("run-3", verdict="INCONCLUSIVE", recipe_summary="e5, 5 epochs", summary="")
    told = plan(prior=tuple(runs)).rejected
    assert [each.split(":")[0] for each in told] == ["run-0", "run-3", "run-4", "run-5", "run-6"]
    assert told[0] == "run-0: REJECTED, with a recipe that is not known: F1 0.70 is below"
    assert told[1] == "run-3: INCONCLUSIVE, with e5, 5 epochs: no reason is recorded"
    rejected = tuple(prior_run(str(number), verdict="REJECTED") for number in range(9))
    assert len(plan(prior=rejected).rejected) == 5
