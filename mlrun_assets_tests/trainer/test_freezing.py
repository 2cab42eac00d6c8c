"""Which parameters are not trained, in encoders of several families."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from mlrun_assets.errors import TrainingError
from mlrun_assets.trainer.freezing import freeze

SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
FAMILIES = [
    (BertForSequenceClassification, BertConfig(**SMALL)),
    (XLMRobertaForSequenceClassification, XLMRobertaConfig(**SMALL)),
    (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=8),
    ),
]


def trained(model: Any) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


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


def test_layers_that_share_their_weights_can_not_be_told_apart() -> None:
    model = AlbertForSequenceClassification(AlbertConfig(**SMALL, embedding_size=8))
    with pytest.raises(TrainingError, match="albert encoder has 0 layers that can be told apart"):
        freeze(model, 2)
