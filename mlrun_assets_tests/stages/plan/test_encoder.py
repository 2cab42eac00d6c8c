from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlrun_assets.stages.plan.encoder import needed_memory_gb
from mlrun_assets_tests.stages.plan.situations import LAPTOP, choice, plan, situation


@pytest.mark.parametrize(("fewest", "part"), [(19, "encoder"), (20, "none")])
def test_very_few_rows_freeze_the_encoder(fewest: int, part: str) -> None:
    assert plan({"a": 40, "b": fewest}).recipe.freeze == part


@pytest.mark.parametrize(
    ("hidden", "layers", "trims", "measured"),
    [(384, 12, True, 2.0), (768, 12, True, 2.7), (768, 12, False, 5.6)],
)
def test_the_memory_that_training_needs_is_about_what_was_measured(
    hidden: int, layers: int, trims: bool, measured: float
) -> None:
    machine = replace(LAPTOP, hidden_size=hidden, layers=layers)
    made = situation(circumstances=machine, model={"trim_vocabulary": trims})
    assert needed_memory_gb(made) == pytest.approx(measured, rel=0.15)


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
