from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.plan.rules import needed_memory_gb
from mlrun_assets_tests.examples import LAPTOP, choice, plan, planning_inputs

# Batch size and schedule


@pytest.mark.parametrize(
    ("rows", "epochs", "batch_size", "decay", "smoothing"),
    [
        (998, 15, 16, 0.9, 0.1),
        (1_000, 10, 16, 0.9, 0.1),
        (1_998, 10, 16, 0.9, 0.1),
        (2_000, 5, 32, 1.0, 0.0),
        (20_000, 5, 32, 1.0, 0.0),
    ],
)
def test_small_data_trains_longer_with_smaller_steps(
    rows: int, epochs: int, batch_size: int, decay: float, smoothing: float
) -> None:
    recipe = plan({"a": rows // 2, "b": rows // 2}).recipe
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch_size)
    assert (recipe.layerwise_decay, recipe.label_smoothing) == (decay, smoothing)
    assert (recipe.warmup_fraction, recipe.early_stopping_patience) == (0.1, 4)
    assert recipe.group_by_length


@pytest.mark.parametrize(
    ("rows", "median", "epochs"), [(500, 129, 6), (500, 128, 15), (1_999, 300, 6), (2_000, 300, 5)]
)
def test_long_texts_train_for_fewer_epochs(rows: int, median: float, epochs: int) -> None:
    labels = {"a": rows - rows // 2, "b": rows // 2}
    made = plan(labels, model={"max_length": 256}, profile={"tokens_median": median})
    assert made.recipe.epochs == epochs
    short = plan(labels, model={"max_length": 128}, profile={"tokens_median": median})
    assert short.recipe.epochs != 6


def test_the_head_of_a_frozen_encoder_learns_fast() -> None:
    assert plan({"a": 40, "b": 12}).recipe.learning_rate == pytest.approx(1e-2)
    assert plan(training={"freeze": "encoder"}).recipe.learning_rate == pytest.approx(1e-2)
    chosen = plan({"a": 40, "b": 12}, training={"learning_rate": 1.23456789e-5})
    assert chosen.recipe.learning_rate == 1.23456789e-5


@pytest.mark.parametrize(("hidden", "rate"), [(511, 1e-4), (512, 3e-5), (768, 3e-5)])
def test_narrow_encoders_take_larger_steps(hidden: int, rate: float) -> None:
    made = plan(hardware=replace(LAPTOP, hidden_size=hidden))
    assert made.recipe.learning_rate == rate
    assert choice(made, "learning_rate").source == "rule"


# Labels


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        ({"a": 299, "b": 100}, "none"),
        ({"a": 300, "b": 100}, "balanced"),
        ({"a": 399, "b": 40}, "balanced"),
        ({"a": 400, "b": 40}, "sqrt"),
    ],
)
def test_the_imbalance_decides_the_class_weights(train: dict[str, int], kind: str) -> None:
    made = plan(train)
    assert choice(made, "class_weights").value == kind
    weights = made.recipe.class_weights
    if kind == "none":
        assert weights is None
    else:
        assert weights is not None
        ratio = (train["a"] / train["b"]) ** (0.5 if kind == "sqrt" else 1.0)
        assert weights[1] / weights[0] == pytest.approx(ratio)


def test_balanced_weights_have_mean_one_over_the_rows() -> None:
    weights = plan({"a": 300, "b": 100}).recipe.class_weights
    assert weights is not None
    assert (300 * weights[0] + 100 * weights[1]) / 400 == pytest.approx(1.0)


def test_square_root_weights_are_capped() -> None:
    weights = plan({"a": 10_000, "b": 20}).recipe.class_weights
    assert weights is not None
    assert max(weights) == 5.0


# Encoder


@pytest.mark.parametrize(("fewest", "part"), [(19, "encoder"), (20, "none")])
def test_very_few_rows_freeze_the_encoder(fewest: int, part: str) -> None:
    assert plan({"a": 40, "b": fewest}).recipe.freeze == part


@pytest.mark.parametrize(
    ("hidden", "trims", "max_length", "measured"),
    [
        (384, True, 128, 1.97),
        (384, True, 256, 2.68),
        (768, True, 64, 2.7),
        (768, False, 64, 5.6),
    ],
)
def test_the_needed_memory_is_close_to_the_measured_one(
    hidden: int, trims: bool, max_length: int, measured: float
) -> None:
    machine = replace(LAPTOP, hidden_size=hidden)
    model = {"trim_vocabulary": trims, "max_length": max_length}
    made = planning_inputs(hardware=machine, model=model)
    assert needed_memory_gb(made) == pytest.approx(measured, rel=0.15)


def test_memory_grows_with_the_batch_which_workers_share() -> None:
    one, larger = planning_inputs(), planning_inputs(training={"batch_size": 64})
    two = planning_inputs(training={"batch_size": 16, "backend": "torchrun", "num_workers": 2})
    process = 2 * needed_memory_gb(one) - needed_memory_gb(
        planning_inputs(training={"batch_size": 32})
    )
    activations = needed_memory_gb(one) - process
    assert needed_memory_gb(larger) == pytest.approx(process + 4 * activations)
    assert needed_memory_gb(two) == pytest.approx(2 * process + activations)


def test_the_planned_batch_size_determines_the_memory() -> None:
    rows = {"a": 1_500, "b": 1_500}
    as_planned, as_configured = (
        planning_inputs(rows),
        planning_inputs(rows, training={"batch_size": 32}),
    )
    assert plan(rows).recipe.batch_size == 32
    assert needed_memory_gb(as_planned) == needed_memory_gb(as_configured)


def test_short_memory_freezes_the_embeddings() -> None:
    needed = needed_memory_gb(planning_inputs())
    short = plan(hardware=replace(LAPTOP, available_memory_gb=needed - 0.01))
    assert short.recipe.freeze == "embeddings"
    assert "1.9 GB are available" in choice(short, "freeze").evidence
    enough = plan(hardware=replace(LAPTOP, available_memory_gb=needed))
    assert enough.recipe.freeze == "none"


@pytest.mark.parametrize(
    ("changes", "trims"),
    [
        ({}, True),
        ({"accelerator": "GPU"}, False),
        ({"vocabulary": 50_000}, False),
        ({"vocabulary": 50_001}, True),
        ({"untrimmable": "WordPiece"}, False),
    ],
)
def test_large_vocabularies_are_trimmed_on_a_cpu(changes: dict[str, Any], trims: bool) -> None:
    assert plan(hardware=replace(LAPTOP, **changes)).recipe.trim_vocabulary is trims


@pytest.mark.parametrize(("speedup", "bf16"), [(0.5, False), (1.19, False), (1.2, True)])
def test_bf16_is_used_if_it_is_clearly_faster(speedup: float, bf16: bool) -> None:
    assert plan(hardware=replace(LAPTOP, bf16_speedup=speedup)).recipe.bf16 is bf16


@pytest.mark.parametrize(("by_mean", "pooling"), [(True, "mean"), (False, "first")])
def test_pooling_follows_the_pretraining(by_mean: bool, pooling: str) -> None:
    made = plan(hardware=replace(LAPTOP, trained_by_mean=by_mean))
    assert made.recipe.pooling == pooling
