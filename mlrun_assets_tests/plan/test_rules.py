from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.errors import ConfigError
from mlrun_assets.plan.plan import plan_training
from mlrun_assets.plan.rules import needed_memory_gb
from mlrun_assets.records import HelperRows
from mlrun_assets_tests.examples import LAPTOP, choice, plan, planning_inputs

LARGE = {"epochs": 5, "batch_size": 32, "layerwise_decay": 1.0, "label_smoothing": 0.0}
SMALL = {"epochs": 6, "batch_size": 16, "layerwise_decay": 0.9, "label_smoothing": 0.1}
EVER = {"warmup_fraction": 0.1, "group_by_length": True}


def halves(rows: int) -> dict[str, int]:
    return {"a": rows - rows // 2, "b": rows // 2}


def long(rows: int, median: float, max_length: int = 256) -> dict[str, Any]:
    profile = {"tokens_median": median}
    return {"train": halves(rows), "model": {"max_length": max_length}, "profile": profile}


def machine(**changes: Any) -> dict[str, Any]:
    return {"hardware": replace(LAPTOP, **changes)}


def best() -> dict[str, Any]:
    return {"training": {"budget": "best"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "ngrams, frozen+ngrams"),
        (best(), "ngrams, frozen+ngrams, encoder+ngrams"),
        ({"train": halves(1_999)}, "ngrams, frozen+ngrams"),
        ({"train": halves(2_000)}, "ngrams, frozen+ngrams, encoder+ngrams"),
        (long(500, 128), "ngrams, frozen+ngrams"),
        (long(500, 300, max_length=128), "ngrams, frozen+ngrams"),
        (long(500, 129), "ngrams, frozen+ngrams, encoder+ngrams"),
        (machine(trained_by_mean=False), "ngrams, frozen+ngrams, encoder+ngrams"),
        ({"training": {"budget": "fast"}}, "ngrams, frozen+ngrams"),
        ({"train": {"a": 40, "b": 19}}, "ngrams, frozen+ngrams"),
        ({"train": {"a": 40, "b": 19}, "training": {"budget": "best"}}, "ngrams, frozen+ngrams"),
        (machine(can_freeze=False, trained_by_mean=False), "ngrams, encoder+ngrams"),
        ({**machine(can_freeze=False), "training": {"budget": "fast"}}, "ngrams"),
        ({"model": {"candidates": ["encoder"]}}, "encoder"),
    ],
)
def test_which_candidates_are_tried(given: dict[str, Any], expected: str) -> None:
    assert choice(plan(**given), "candidates").value == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (long(500, 128), 0),
        (long(500, 129), 4),
        (long(5_000, 129), 3),
        (long(500, 300, max_length=128), 0),
        ({**long(500, 300), "training": {"epochs": 1}}, 0),
        ({**long(500, 300), "training": {"epochs": 2}}, 1),
        ({**long(500, 300), "training": {"short_epochs": 0}}, 0),
        ({"training": {"short_epochs": 2}}, 2),
    ],
)
def test_the_first_epochs_over_long_texts_are_short(given: dict[str, Any], expected: int) -> None:
    assert plan(**given).recipe.short_epochs == expected


def test_helper_rows_add_a_candidate() -> None:
    helpers = HelperRows(
        files=(), file="", digest="", rows_read=9, rows_kept=9, left_out={}, label_rows={}
    )
    inputs = planning_inputs(**best())
    inputs = replace(inputs, dataset=inputs.dataset.model_copy(update={"auxiliary": helpers}))
    ladder = "ngrams, frozen+ngrams, helped+ngrams, encoder+ngrams"
    assert choice(plan_training(inputs), "candidates").value == ladder
    without = replace(inputs, hardware=replace(inputs.hardware, can_freeze=False))
    assert choice(plan_training(without), "candidates").value == "ngrams, encoder+ngrams"


def test_candidates_of_the_config_go_before_the_budget() -> None:
    named = {"model": {"candidates": ["encoder"]}}
    assert "although the budget is fast" in _why(**named, training={"budget": "fast"})
    assert "budget" not in _why(**named)
    assert "budget" not in _why(model={"candidates": ["ngrams"]}, training={"budget": "fast"})


def _why(**sections: Any) -> str:
    return choice(plan(**sections), "candidates").reason


def test_candidates_that_the_encoder_can_not_be() -> None:
    named = {"model": {"candidates": ["ngrams", "frozen", "frozen+ngrams"]}}
    with pytest.raises(ConfigError, match=r"has frozen, frozen\+ngrams, .* types bert"):
        plan(**named, **machine(can_freeze=False))
    assert plan(model={"candidates": ["encoder"]}, **machine(can_freeze=False))


def test_no_more_epochs_are_short_than_there_are() -> None:
    assert plan(training={"epochs": 3, "short_epochs": 3}).recipe.short_epochs == 3
    with pytest.raises(ConfigError, match=r"short_epochs is 4, and there are 3 epochs .* to 3 or"):
        plan(training={"epochs": 3, "short_epochs": 4})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Small data trains longer, with smaller steps; long texts for fewer epochs.
        ({"train": halves(998)}, {**SMALL, **EVER}),
        ({"train": halves(998), **best()}, {"epochs": 15, "seed": 42}),
        ({"train": halves(1_998), **best()}, {"epochs": 10}),
        ({"train": halves(1_000)}, {**SMALL, **EVER}),
        ({"train": halves(1_998)}, {**SMALL, **EVER}),
        ({"train": halves(2_000)}, {**LARGE, **EVER}),
        ({"train": halves(20_000)}, {**LARGE, **EVER}),
        (long(500, 129), {"epochs": 6}),
        ({**long(500, 128), **best()}, {"epochs": 15}),
        ({**long(500, 300, max_length=128), **best()}, {"epochs": 15}),
        ({**long(500, 300), **best()}, {"epochs": 6}),
        (long(1_999, 300), {"epochs": 6}),
        (long(2_000, 300), {"epochs": 5}),
        # Very few rows freeze the encoder, and a head alone learns fast.
        ({"train": {"a": 40, "b": 19}}, {"freeze": "encoder", "learning_rate": 1e-2}),
        ({"train": {"a": 40, "b": 20}}, {"freeze": "none", "learning_rate": 1e-4}),
        ({"training": {"freeze": "encoder"}}, {"learning_rate": 1e-2}),
        ({"training": {"freeze": 0}}, {"freeze": 0}),
        ({"training": {"freeze": 12}}, {"freeze": 12}),
        # Narrow encoders take larger steps.
        (machine(hidden_size=511), {"learning_rate": 1e-4}),
        (machine(hidden_size=512), {"learning_rate": 3e-5}),
        # Large vocabularies are trimmed on a CPU.
        ({}, {"trim_vocabulary": True}),
        (machine(accelerator="GPU"), {"trim_vocabulary": False, "attention_dropout": True}),
        (machine(vocabulary=50_000), {"trim_vocabulary": False, "attention_dropout": False}),
        (machine(vocabulary=50_001), {"trim_vocabulary": True}),
        (machine(untrimmable="WordPiece"), {"trim_vocabulary": False}),
        (machine(bf16_speedup=1.19), {"bf16": False}),
        (machine(bf16_speedup=1.2), {"bf16": True}),
        (machine(trained_by_mean=True), {"pooling": "mean"}),
        (machine(trained_by_mean=False), {"pooling": "first"}),
    ],
)
def test_what_the_rules_give(given: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = plan(**given).recipe
    assert {key: getattr(recipe, key) for key in expected} == expected


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
    if weights is None:
        assert kind == "none"
        return
    inverse = [weight ** (2.0 if kind == "sqrt" else 1.0) for weight in weights]
    assert inverse[1] / inverse[0] == pytest.approx(train["a"] / train["b"])
    rows = train["a"] + train["b"]
    assert (train["a"] * inverse[0] + train["b"] * inverse[1]) / rows == pytest.approx(1.0)


def test_square_root_weights_are_capped() -> None:
    weights = plan({"a": 10_000, "b": 20}).recipe.class_weights
    assert weights is not None and max(weights) == 5.0


# Memory


@pytest.mark.parametrize(
    ("hidden", "trims", "max_length", "measured"),
    [(384, True, 128, 1.97), (384, True, 256, 2.68), (768, True, 64, 2.7), (768, False, 64, 5.6)],
)
def test_the_needed_memory_is_close_to_the_measured_one(
    hidden: int, trims: bool, max_length: int, measured: float
) -> None:
    model = {"trim_vocabulary": trims, "max_length": max_length}
    made = planning_inputs(**machine(hidden_size=hidden), model=model)
    assert needed_memory_gb(made) == pytest.approx(measured, rel=0.15)


def test_memory_grows_with_the_batch_which_workers_share() -> None:
    def needed(train: dict[str, int] | None = None, **training: Any) -> float:
        return needed_memory_gb(planning_inputs(train, training=training))

    one, two = needed(), needed(batch_size=16, backend="torchrun", num_workers=2)
    process = 2 * one - needed(batch_size=32)
    assert needed(batch_size=64) == pytest.approx(process + 4 * (one - process))
    assert two == pytest.approx(2 * process + one - process)
    assert needed(halves(3_000)) == needed(halves(3_000), batch_size=32)  # the planned one


def test_short_memory_freezes_the_embeddings() -> None:
    needed = needed_memory_gb(planning_inputs())
    short = plan(**machine(available_memory_gb=needed - 0.01))
    assert short.recipe.freeze == "embeddings"
    assert "1.9 GB are available" in choice(short, "freeze").evidence
    assert plan(**machine(available_memory_gb=needed)).recipe.freeze == "none"


@pytest.mark.parametrize(
    ("training", "seeds"),
    [
        ({"budget": "best"}, (42, 43, 44)),
        ({"budget": "best", "seed": 7}, (7, 8, 9)),
        ({"budget": "best", "seeds": [1, 2]}, (1, 2)),
        ({"budget": "balanced"}, (42,)),
    ],
)
def test_the_best_budget_trains_several_seeds(
    training: dict[str, Any], seeds: tuple[int, ...]
) -> None:
    assert plan(training=training).seeds == seeds
