from __future__ import annotations

import pytest

from mlrun_assets_tests.examples import choice, plan


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        ({"a": 299, "b": 100}, "none"),
        ({"a": 300, "b": 100}, "balanced"),
        ({"a": 399, "b": 40}, "balanced"),
        ({"a": 400, "b": 40}, "sqrt"),
    ],
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


def test_balanced_weights_have_mean_one_over_the_rows() -> None:
    weights = plan({"a": 300, "b": 100}).recipe.class_weights
    assert weights is not None
    assert (300 * weights[0] + 100 * weights[1]) / 400 == pytest.approx(1.0)


def test_square_root_weights_are_capped() -> None:
    weights = plan({"a": 10_000, "b": 20}).recipe.class_weights
    assert weights is not None
    assert max(weights) == 5.0
