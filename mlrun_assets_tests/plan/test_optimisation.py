from __future__ import annotations

from dataclasses import replace

import pytest

from mlrun_assets_tests.examples import LAPTOP, choice, plan, prior_run


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
def test_fewer_rows_train_longer_and_more_carefully(
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


def test_a_frozen_encoder_has_a_head_that_learns_fast() -> None:
    assert plan({"a": 40, "b": 12}).recipe.learning_rate == pytest.approx(1e-2)
    assert plan(training={"freeze": "encoder"}).recipe.learning_rate == pytest.approx(1e-2)
    chosen = plan({"a": 40, "b": 12}, training={"learning_rate": 1.23456789e-5})
    assert chosen.recipe.learning_rate == 1.23456789e-5


@pytest.mark.parametrize(("hidden", "rate"), [(511, 1e-4), (512, 3e-5), (768, 3e-5)])
def test_narrow_encoders_take_larger_steps(hidden: int, rate: float) -> None:
    made = plan(circumstances=replace(LAPTOP, hidden_size=hidden))
    assert made.recipe.learning_rate == rate
    assert choice(made, "learning_rate").source == "rule"


def test_the_best_learning_rate_of_earlier_runs_is_taken() -> None:
    tried = (
        prior_run("third", learning_rate=2e-4, val_f1_macro=0.79),
        prior_run("second", learning_rate=5e-5, val_f1_macro=0.83),
        prior_run("first", learning_rate=5e-5, val_f1_macro=0.81),
    )
    made = plan(prior=tried)
    told = choice(made, "learning_rate")
    assert made.recipe.learning_rate == 5e-5
    assert told.source == "earlier run"
    assert told.evidence == "val macro-F1 0.830 in second; 0.0002: 0.790"
    configured = choice(plan(prior=tried, training={"learning_rate": 1e-3}), "learning_rate")
    assert configured.source == "config"
    assert "the rule says 5e-05" in configured.evidence
