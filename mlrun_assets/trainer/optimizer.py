"""AdamW with a learning rate for each layer."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from mlrun_assets.records import Recipe
from mlrun_assets.trainer.depth import is_below_layers, layer_of


def build_optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained.

    The learning rate of a layer is that of the layer above it times ``layerwise_decay``; the head
    has the whole rate and the embeddings the smallest (Howard and Ruder, 2018; Zhang et al., 2021).
    Biases and norms are not decayed. The bias of the moments is corrected, without which
    fine-tuning on few rows is unstable (Mosbach et al., 2021).
    """
    depth = int(getattr(model.config, "num_hidden_layers", 0))
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= 2
            key = (_distance_from_head(model, name, depth), decayed)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * recipe.layerwise_decay**distance,
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for (distance, decayed), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        fused=True,
    )


def _distance_from_head(model: PreTrainedModel, name: str, depth: int) -> int:
    """Layers between a parameter and the head: 0 for the head, ``depth + 1`` for embeddings."""
    layer = layer_of(name)
    if layer is not None:
        return depth - layer
    return depth + 1 if is_below_layers(model, name) else 0
