from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.plan.rules import needed_memory_gb
from mlrun_assets_tests.examples import LAPTOP, choice, plan, situation


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
def test_the_memory_that_training_needs_is_about_what_was_measured(
    hidden: int, trims: bool, max_length: int, measured: float
) -> None:
    machine = replace(LAPTOP, hidden_size=hidden)
    model = {"trim_vocabulary": trims, "max_length": max_length}
    made = situation(circumstances=machine, model=model)
    assert needed_memory_gb(made) == pytest.approx(measured, rel=0.15)


def test_memory_grows_with_the_batch_and_workers_share_one() -> None:
    one, larger = situation(), situation(training={"batch_size": 64})
    two = situation(training={"batch_size": 16, "backend": "torchrun", "num_workers": 2})
    process = 2 * needed_memory_gb(one) - needed_memory_gb(situation(training={"batch_size": 32}))
    activations = needed_memory_gb(one) - process
    assert needed_memory_gb(larger) == pytest.approx(process + 4 * activations)
    assert needed_memory_gb(two) == pytest.approx(2 * process + activations)


def test_the_memory_is_that_of_the_batch_that_is_planned() -> None:
    rows = {"a": 1_500, "b": 1_500}
    as_planned, as_configured = situation(rows), situation(rows, training={"batch_size": 32})
    assert plan(rows).recipe.batch_size == 32
    assert needed_memory_gb(as_planned) == needed_memory_gb(as_configured)


def test_short_memory_freezes_the_embeddings() -> None:
    needed = needed_memory_gb(situation())
    short = plan(circumstances=replace(LAPTOP, available_memory_gb=needed - 0.01))
    assert short.recipe.freeze == "embeddings"
    assert "1.9 GB are available" in choice(short, "freeze").evidence
    enough = plan(circumstances=replace(LAPTOP, available_memory_gb=needed))
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
def test_trimming_is_for_large_vocabularies_on_a_cpu(changes: dict[str, Any], trims: bool) -> None:
    assert plan(circumstances=replace(LAPTOP, **changes)).recipe.trim_vocabulary is trims


@pytest.mark.parametrize(("speedup", "bf16"), [(0.5, False), (1.19, False), (1.2, True)])
def test_bf16_where_it_is_clearly_faster(speedup: float, bf16: bool) -> None:
    assert plan(circumstances=replace(LAPTOP, bf16_speedup=speedup)).recipe.bf16 is bf16


@pytest.mark.parametrize(("by_mean", "pooling"), [(True, "mean"), (False, "first")])
def test_pooling_is_that_of_the_pretraining(by_mean: bool, pooling: str) -> None:
    made = plan(circumstances=replace(LAPTOP, trained_by_mean=by_mean))
    assert made.recipe.pooling == pooling
