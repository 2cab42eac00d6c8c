from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.records import PriorRun
from mlrun_assets_tests.examples import LAPTOP, choice, plan, prior_run


def source_beside(other: PriorRun) -> str:
    """Where the learning rate comes from, after a run of another one."""
    return choice(plan(prior=(prior_run("a"), other)), "learning_rate").source


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({}, "earlier run"),
        ({"data_name": "other"}, "rule"),
        ({"val_digest": "sha256:other"}, "rule"),
        ({"val_f1_macro": None}, "rule"),
        ({"learning_rate": None}, "rule"),
        ({"learning_rate": 1e-4}, "rule"),
    ],
)
def test_runs_that_are_not_comparable_are_ignored(changes: dict[str, Any], source: str) -> None:
    run = prior_run("b", **{"learning_rate": 3e-4, "val_f1_macro": 0.99, **changes})
    assert source_beside(run) == source


@pytest.mark.parametrize(
    ("otherwise", "source"),
    [
        ({"model": {"name": "xlm-roberta-base"}}, "rule"),
        ({"model": {"candidates": ["encoder"]}}, "rule"),
        ({"training": {"freeze": "encoder"}}, "rule"),
        ({"training": {"epochs": 1}}, "rule"),
        ({"hardware": replace(LAPTOP, encoder_digest="sha256:other files")}, "rule"),
        ({"hardware": replace(LAPTOP, bf16_speedup=1.0), "training": {"seed": 7}}, "earlier run"),
    ],
)
def test_only_another_machine_or_seed_is_comparable(otherwise: dict[str, Any], source: str) -> None:
    digest = plan(**otherwise).recipe.comparable_digest
    assert source_beside(prior_run("b", learning_rate=3e-4, comparable_digest=digest)) == source


def test_a_plan_that_ran_before_reports_the_result() -> None:
    known = prior_run(recipe_digest=plan().recipe_digest)
    assert "macro-F1 0.812" in plan(prior=(known,)).seen_before[0]
    assert len(plan(prior=(known,) * 300).seen_before) == 5
    other_data = known.model_copy(update={"data_digest": "other"})
    assert plan(prior=(other_data,)).seen_before == ()
    assert plan(prior=(known,), training={"seed": 7}).seen_before == ()
    other_files = replace(LAPTOP, encoder_digest="sha256:other")
    assert plan(prior=(known,), hardware=other_files).seen_before == ()


def test_the_newest_checkpoint_of_the_same_plan_is_reused_if_configured() -> None:
    digest = plan().recipe_digest
    known = (
        prior_run("no_checkpoint", recipe_digest=digest, val_f1_macro=None),
        prior_run("other_label_order", recipe_digest=digest, labels=("b", "a")),
        prior_run("newest", recipe_digest=digest),
        prior_run("older", recipe_digest=digest),
    )
    assert plan(prior=known).reuse is None
    reusing = plan(prior=known, training={"reuse": True})
    assert reusing.reuse == "exp_newest" and reusing.recipe_digest == digest
    assert plan(prior=known, training={"reuse": True, "epochs": 2}).reuse is None


def test_at_most_five_rejected_recipes_are_listed_with_the_reason() -> None:
    runs = [
        prior_run(f"run-{number}", verdict="REJECTED", verdict_reason=f"F1 0.7{number} is below")
        for number in range(9)
    ]
    runs[1] = prior_run("run-1", verdict="APPROVED")
    runs[2] = prior_run("run-2", verdict="REJECTED", data_name="other")
    runs[3] = prior_run("run-3", verdict="INCONCLUSIVE", recipe_summary="e5, 5 epochs", summary="")
    rejected = plan(prior=tuple(runs)).rejected
    names = [each.split(":")[0] for each in rejected]
    assert names == ["run-0", "run-3", "run-4", "run-5", "run-6"]
    assert "REJECTED" in rejected[0] and "F1 0.70 is below" in rejected[0]
    assert "INCONCLUSIVE, with e5, 5 epochs" in rejected[1]


def test_the_best_learning_rate_of_earlier_runs_on_val_is_taken() -> None:
    tried = (  # f1 is that on test
        prior_run("third", learning_rate=2e-4, val_f1_macro=0.79, f1=0.9),
        prior_run("second", learning_rate=5e-5, val_f1_macro=0.83, f1=0.1),
        prior_run("first", learning_rate=5e-5, val_f1_macro=0.81, f1=0.1),
    )
    made = plan(prior=tried)
    chosen = choice(made, "learning_rate")
    assert made.recipe.learning_rate == 5e-5
    assert chosen.source == "earlier run"
    assert "0.830 in second; 0.0002: 0.790" in chosen.evidence
    configured = choice(plan(prior=tried, training={"learning_rate": 1e-3}), "learning_rate")
    assert configured.source == "config" and "5e-05" in configured.evidence
