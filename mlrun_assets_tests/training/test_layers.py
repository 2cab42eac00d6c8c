"""Which parameters are not trained, and how fast the others learn, in several families."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    MPNetConfig,
    XLMRobertaConfig,
    XLMRobertaXLConfig,
)

from mlrun_assets.errors import TrainingError
from mlrun_assets.training.fine_tuning import build_optimizer, freeze
from mlrun_assets_tests.examples import RECIPE

SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
DEBERTA = DebertaV2Config(
    **SMALL,
    relative_attention=True,
    pos_att_type=["p2c", "c2p"],
    position_buckets=4,
    norm_rel_ebd="layer_norm",
    conv_kernel_size=3,
    conv_act="gelu",
)
FAMILIES = [
    BertConfig(**SMALL),
    XLMRobertaConfig(**SMALL),
    DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=8),
    DEBERTA,
    MPNetConfig(**SMALL),
]
in_families = pytest.mark.parametrize("config", FAMILIES, ids=lambda each: each.model_type)


def model_of(config: Any) -> Any:
    return AutoModelForSequenceClassification.from_config(config)


def trained(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def rates(model: Any, **recipe: Any) -> dict[str, float]:
    """The learning rate of each parameter."""
    groups = build_optimizer(model, RECIPE.model_copy(update=recipe)).param_groups
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: found[id(model.get_parameter(name))] for name in trained(model)}


def beside_layers(model: Any) -> set[str]:
    """What of the encoder is in none of its layers, but for a pooler, which reads the last one."""
    names = [name for name, _ in model.base_model.named_parameters()]
    beside = [name for name in names if "layer." not in name and not name.startswith("pooler.")]
    return {f"{model.base_model_prefix}.{name}" for name in beside}


@in_families
@pytest.mark.parametrize("lowest", [0, 1, 3])
def test_the_embeddings_and_the_lowest_layers(config: Any, lowest: int) -> None:
    model = model_of(config)
    freeze(model, lowest)
    left = trained(model)
    assert not any("embeddings" in name for name in left)
    layers = {int(name.split("layer.")[1].split(".")[0]) for name in left if "layer." in name}
    assert layers == set(range(lowest, 3))
    assert any(name.startswith(("classifier", "pre_classifier")) for name in left)
    assert not beside_layers(model) & left


@in_families
def test_named_parts(config: Any) -> None:
    whole = model_of(config)
    every = {name for name, _ in whole.named_parameters()}
    freeze(whole, "none")
    assert trained(whole) == every
    freeze(whole, "embeddings")
    prefix = whole.base_model_prefix
    assert every - trained(whole) == {f"{prefix}.embeddings.word_embeddings.weight"}
    freeze(whole, "encoder")
    assert not any(name.startswith(f"{prefix}.") for name in trained(whole))


@in_families
def test_what_all_layers_build_on_learns_as_slowly_as_the_embeddings(config: Any) -> None:
    model = model_of(config)
    found = {name: rates(model)[name] for name in beside_layers(model)}
    lowest = RECIPE.learning_rate * RECIPE.layerwise_decay**4
    assert found == pytest.approx(dict.fromkeys(found, lowest))


def test_the_norm_behind_the_last_layer_is_trained_like_the_head() -> None:
    model = model_of(XLMRobertaXLConfig(**SMALL))
    freeze(model, 3)
    assert rates(model)["roberta.encoder.LayerNorm.weight"] == RECIPE.learning_rate


def test_lower_layers_learn_more_slowly() -> None:
    model = model_of(BertConfig(**SMALL))
    found, full = rates(model, layerwise_decay=0.5), RECIPE.learning_rate
    assert found["classifier.weight"] == full
    for layer, share in ((2, 0.5), (1, 0.25), (0, 0.125)):
        assert found[f"bert.encoder.layer.{layer}.output.dense.weight"] == full * share
    assert found["bert.embeddings.word_embeddings.weight"] == full * 0.0625
    groups = build_optimizer(model, RECIPE).param_groups
    undecayed = [group for group in groups if group["weight_decay"] == 0.0]
    assert undecayed
    assert all(parameter.ndim == 1 for group in undecayed for parameter in group["params"])


@pytest.mark.parametrize(
    ("config", "part", "message"),
    [
        (AlbertConfig(**SMALL, embedding_size=8), 2, "albert encoder has 0 layers"),  # one, shared
        (BertConfig(**SMALL), 4, "freeze is 4, and the bert encoder has 3 layers"),
    ],
)
def test_more_layers_than_the_encoder_has_can_not_be_frozen(
    config: Any, part: int, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        freeze(model_of(config), part)
