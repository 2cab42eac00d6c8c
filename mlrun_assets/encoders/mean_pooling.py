"""Mean pooling inside a stock classifier, as one more layer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

POOLED_TYPES = frozenset({"bert", "roberta", "xlm-roberta"})
# How much the mean outweighs the first token's own state, which the residual adds to it.
MEAN_WEIGHT = 8.0


def pool_by_mean(model: PreTrainedModel) -> None:
    """Let a classifier of the BERT family start from the mean of the tokens' states.

    Its head reads the first token. The layer appended here attends to all tokens alike (queries
    and keys are zero, so the softmax is uniform over what the mask leaves), hands their states
    through unchanged, and its feed-forward part adds nothing yet: the first token then holds the
    mean, normalised. The layer is trained like any other, and the result stays a stock
    transformers model that every tool can load.

    Raises:
        EncoderError: the model is of another family.
    """
    if model.config.model_type not in POOLED_TYPES:
        raise EncoderError(
            f"model.pooling: mean is made for {', '.join(sorted(POOLED_TYPES))}, and this encoder "
            f"is of type {model.config.model_type}: set model.pooling to first."
        )
    layers = model.base_model.encoder.layer
    # The config stays the model's own: a change of how it attends must reach this layer too.
    layer = copy.deepcopy(layers[-1], {id(model.config): model.config})
    attention, output = layer.attention.self, layer.attention.output
    for projection in (attention.query, attention.key, layer.output.dense):
        _set(projection, 0.0)
    _set(attention.value, MEAN_WEIGHT)
    _set(output.dense, 1.0)
    for norm in (output.LayerNorm, layer.output.LayerNorm):
        norm.reset_parameters()
    layers.append(layer)
    model.config.num_hidden_layers += 1


def _set(projection: nn.Linear, scale: float) -> None:
    """Make a projection ``scale`` times the identity; 0 makes it nothing."""
    from torch import nn

    nn.init.zeros_(projection.weight)
    nn.init.zeros_(projection.bias)
    if scale:
        projection.weight.data.fill_diagonal_(scale)
