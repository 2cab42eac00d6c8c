"""Which parameters are not trained, and how fast the others learn, in several families."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaXLConfig,
    XLMRobertaXLForSequenceClassification,
)

from mlrun_assets.errors import TrainingError
from mlrun_assets.training.layers import build_optimizer, freeze
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
    (BertForSequenceClassification, BertConfig(**SMALL)),
    (XLMRobertaForSequenceClassification, XLMRobertaConfig(**SMALL)),
    (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=8),
    ),
    (DebertaV2ForSequenceClassification, DEBERTA),
    (MPNetForSequenceClassification, MPNetConfig(**SMALL)),
]


def trained(model: Any) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def beside_layers(model: Any) -> set[str]:
    """What of the encoder is in none of its layers, but for a pooler, which reads the last one."""
    names = {name for name, _ in model.named_parameters()}
    prefix = f"{model.base_model_prefix}."
    return {
        name
        for name in names
        if name.startswith(prefix) and not any(part in name for part in (".layer.", ".pooler."))
    }


@pytest.mark.parametrize(("family", "config"), FAMILIES)
@pytest.mark.parametrize("lowest", [0, 1, 3])
def test_the_embeddings_and_the_lowest_layers(family: Any, config: Any, lowest: int) -> None:
    model = family(config)
    freeze(model, lowest)
    left = trained(model)
    assert not any("embeddings" in name for name in left)
    layers = {int(name.split("layer.")[1].split(".")[0]) for name in left if "layer." in name}
    assert layers == set(range(lowest, 3))
    assert any(name.startswith(("classifier", "pre_classifier")) for name in left)
    assert not beside_layers(model) & set(left)


@pytest.mark.parametrize(("family", "config"), FAMILIES)
def test_named_parts(family: Any, config: Any) -> None:
    whole = family(config)
    freeze(whole, "none")
    assert all(parameter.requires_grad for parameter in whole.parameters())
    freeze(whole, "embeddings")
    frozen = {name for name, _ in whole.named_parameters()} - set(trained(whole))
    prefix = whole.base_model_prefix
    assert frozen == {f"{prefix}.embeddings.word_embeddings.weight"}
    freeze(whole, "encoder")
    assert not any(name.startswith(f"{prefix}.") for name in trained(whole))


@pytest.mark.parametrize(("family", "config"), FAMILIES)
def test_what_all_layers_build_on_learns_as_slowly_as_the_embeddings(
    family: Any, config: Any
) -> None:
    model = family(config)
    groups = build_optimizer(model, RECIPE).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    found = {name: rates[id(model.get_parameter(name))] for name in beside_layers(model)}
    lowest = RECIPE.learning_rate * RECIPE.layerwise_decay**4
    assert found == pytest.approx(dict.fromkeys(found, lowest))


def test_the_norm_behind_the_last_layer_is_trained_like_the_head() -> None:
    model = XLMRobertaXLForSequenceClassification(XLMRobertaXLConfig(**SMALL))
    freeze(model, 3)
    assert "roberta.encoder.LayerNorm.weight" in trained(model)
    [group] = [
        group
        for group in build_optimizer(model, RECIPE).param_groups
        if any(each is model.roberta.encoder.LayerNorm.weight for each in group["params"])
    ]
    assert group["lr"] == RECIPE.learning_rate


def test_layers_that_share_their_weights_can_not_be_told_apart() -> None:
    model = AlbertForSequenceClassification(AlbertConfig(**SMALL, embedding_size=8))
    with pytest.raises(TrainingError, match="albert encoder has 0 layers"):
        freeze(model, 2)


def test_lower_layers_learn_more_slowly() -> None:
    model = BertForSequenceClassification(BertConfig(**SMALL))
    groups = build_optimizer(model, RECIPE.model_copy(update={"layerwise_decay": 0.5})).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    full = RECIPE.learning_rate
    assert named["classifier.weight"] == full
    for layer, share in ((2, 0.5), (1, 0.25), (0, 0.125)):
        assert named[f"bert.encoder.layer.{layer}.output.dense.weight"] == full * share
    assert named["bert.embeddings.word_embeddings.weight"] == full * 0.0625
    undecayed = [group for group in groups if group["weight_decay"] == 0.0]
    assert undecayed
    assert all(parameter.ndim == 1 for group in undecayed for parameter in group["params"])


def test_more_layers_than_the_encoder_has_can_not_be_frozen() -> None:
    model = BertForSequenceClassification(BertConfig(**SMALL))
    with pytest.raises(TrainingError, match=r"freeze is 4, and the bert encoder has 3 layers"):
        freeze(model, 4)
