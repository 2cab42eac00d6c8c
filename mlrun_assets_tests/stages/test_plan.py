from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.config import Config
from mlrun_assets.records import Choice, PriorRun, TrainingPlan
from mlrun_assets.stages.plan import Situation, plan_training
from mlrun_assets.trainer.circumstances import Circumstances
from mlrun_assets_tests.records_factory import dataset_record

LAPTOP = Circumstances(
    accelerator=None,
    bf16_speedup=2.0,
    hidden_size=384,
    vocabulary=250_002,
    untrimmable=None,
    trained_by_mean=True,
)


def plan(
    train: dict[str, int] | None = None,
    circumstances: Circumstances = LAPTOP,
    prior: tuple[PriorRun, ...] = (),
    **sections: dict[str, Any],
) -> TrainingPlan:
    dataset = dataset_record(train or {"a": 200, "b": 200})
    return plan_training(Situation(Config(**sections), dataset, circumstances), prior)  # type: ignore[arg-type]


def choice(of: TrainingPlan, key: str) -> Choice:
    return next(each for each in of.choices if each.key == key)


def test_every_choice_has_a_reason_and_evidence() -> None:
    for each in plan().choices:
        assert each.reason and each.evidence and each.value != "auto"


def test_the_same_situation_gives_the_same_recipe() -> None:
    assert plan() == plan()
    assert plan().recipe_digest != plan(training={"seed": 1}).recipe_digest


def test_a_value_in_the_config_wins_and_the_rule_is_told() -> None:
    made = plan(training={"epochs": 3, "learning_rate": 5e-5, "bf16": False})
    assert (made.recipe.epochs, made.recipe.learning_rate, made.recipe.bf16) == (3, 5e-5, False)
    assert choice(made, "epochs").source == "config"
    assert "the rule says 15" in choice(made, "epochs").evidence


@pytest.mark.parametrize(
    ("rows", "epochs", "batch_size", "decay", "smoothing"),
    [(800, 15, 16, 0.9, 0.1), (1_600, 10, 16, 0.9, 0.1), (4_000, 5, 32, 1.0, 0.0)],
)
def test_fewer_rows_train_longer_and_more_carefully(
    rows: int, epochs: int, batch_size: int, decay: float, smoothing: float
) -> None:
    recipe = plan({"a": rows // 2, "b": rows // 2}).recipe
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch_size)
    assert (recipe.layerwise_decay, recipe.label_smoothing) == (decay, smoothing)


@pytest.mark.parametrize(
    ("train", "kind"),
    [({"a": 29, "b": 10}, "none"), ({"a": 60, "b": 20}, "balanced"), ({"a": 400, "b": 40}, "sqrt")],
)
def test_class_weights_by_imbalance(train: dict[str, int], kind: str) -> None:
    made = plan(train)
    assert choice(made, "class_weights").value == kind
    weights = made.recipe.class_weights
    if kind == "none":
        assert weights is None
    else:
        assert weights is not None
        ratio = (train["a"] / train["b"]) ** (0.5 if kind == "sqrt" else 1.0)
        assert weights[1] / weights[0] == pytest.approx(ratio)


def test_square_root_weights_are_capped() -> None:
    weights = plan({"a": 10_000, "b": 20}).recipe.class_weights
    assert weights is not None
    assert max(weights) == 5.0


@pytest.mark.parametrize(("fewest", "part"), [(19, "encoder"), (20, "none")])
def test_very_few_rows_freeze_the_encoder(fewest: int, part: str) -> None:
    assert plan({"a": 40, "b": fewest}).recipe.freeze == part


@pytest.mark.parametrize(
    ("changes", "trims"),
    [
        ({}, True),
        ({"accelerator": "GPU"}, False),
        ({"vocabulary": 30_000}, False),
        ({"untrimmable": "WordPiece"}, False),
    ],
)
def test_trimming_is_for_large_vocabularies_on_a_cpu(changes: dict[str, Any], trims: bool) -> None:
    assert plan(circumstances=replace(LAPTOP, **changes)).recipe.trim_vocabulary is trims


@pytest.mark.parametrize(("speedup", "bf16"), [(0.5, False), (1.19, False), (1.2, True)])
def test_bf16_where_it_is_clearly_faster(speedup: float, bf16: bool) -> None:
    assert plan(circumstances=replace(LAPTOP, bf16_speedup=speedup)).recipe.bf16 is bf16


@pytest.mark.parametrize(("by_mean", "pooling"), [(True, "mean"), (False, "first")])
def test_pooling_is_that_of_the_pretraining(by_mean: bool, pooling: str) -> None:
    made = plan(circumstances=replace(LAPTOP, trained_by_mean=by_mean))
    assert made.recipe.pooling == pooling


def test_a_frozen_encoder_has_a_head_that_learns_fast() -> None:
    assert plan({"a": 40, "b": 12}).recipe.learning_rate == pytest.approx(1e-2)
    chosen = plan({"a": 40, "b": 12}, training={"learning_rate": 1.23456789e-5})
    assert chosen.recipe.learning_rate == 1.23456789e-5


def test_narrow_encoders_take_larger_steps() -> None:
    wide = plan(circumstances=replace(LAPTOP, hidden_size=768)).recipe.learning_rate
    assert plan().recipe.learning_rate > wide


def test_advice() -> None:
    assert [each.topic for each in plan().advice] == ["seed"]
    rare = plan({"a": 90, "b": 30}).advice[1]
    assert rare.topic == "rare_label"
    assert "rarest label has 30" in rare.sentence
    assert "30" not in rare.issue
    assert plan({"a": 2_000, "b": 2_000}).advice == ()


def test_a_plan_that_ran_before_says_what_it_gave() -> None:
    first = plan()
    known = PriorRun(
        report="impl-ml-run-x-20261123",
        status="Complete",
        summary="macro-F1 0.812",
        recipe_digest=first.recipe_digest,
        data_digest="sha256:data",
    )
    assert "macro-F1 0.812" in plan(prior=(known,)).seen_before[0]
    assert plan(prior=(known.model_copy(update={"data_digest": "other"}),)).seen_before == ()
    assert plan(prior=(known,), training={"seed": 7}).seen_before == ()
