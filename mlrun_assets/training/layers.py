"""AdamW with a learning rate per layer, and frozen layers."""

from __future__ import annotations

import re

import torch
from transformers import PreTrainedModel

from mlrun_assets.errors import TrainingError
from mlrun_assets.records import Recipe

LAYER_NAME = re.compile(r"\.layers?\.(\d+)\.")
# Modules outside the layers that the lowest layer, or every layer, reads. Full names per model
# type: `encoder.LayerNorm` is the norm of DeBERTa's relative positions, but the last norm before
# the head in other models.
BELOW_LAYERS = {
    "albert": ("encoder.embedding_hidden_mapping_in",),
    "convbert": ("embeddings_project",),
    "deberta": ("encoder.rel_embeddings", "encoder.LayerNorm"),
    "deberta-v2": ("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
    "electra": ("embeddings_project",),
    "mpnet": ("encoder.relative_attention_bias",),
    "rembert": ("encoder.embedding_hidden_mapping_in",),
}


def build_optimizer(model: PreTrainedModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trained parameters.

    The learning rate of a layer is that of the layer above it times ``layerwise_decay``; the head
    has the full rate and the embeddings the smallest (Howard and Ruder, 2018; Zhang et al., 2021).
    Biases and norms have no weight decay. The bias of the moments is corrected: without it
    fine-tuning on few rows is unstable (Mosbach et al., 2021).
    """
    depth = int(getattr(model.config, "num_hidden_layers", 0))
    groups: dict[tuple[int, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim >= 2
            layer = _layer(model, name)
            distance = 0 if layer is None else depth - layer
            groups.setdefault((distance, decayed), []).append(parameter)
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


def freeze(model: PreTrainedModel, part: str | int) -> None:
    """Exclude ``part`` of a classifier from training.

    It is ``none``, ``embeddings`` (of the word pieces), ``encoder`` (all but the head), or the
    number of the lowest layers, which are frozen together with all embeddings, also those of
    relative positions, which every layer reads.

    Raises:
        TrainingError: the encoder has fewer layers with names of their own.
    """
    if part == "embeddings":
        model.get_input_embeddings().requires_grad_(False)
    elif part == "encoder":
        model.base_model.requires_grad_(False)
    elif isinstance(part, int):
        layers = set()
        for name, parameter in model.named_parameters():
            layer = _layer(model, name)
            layers.add(layer)
            if layer is not None and layer < part:
                parameter.requires_grad_(False)
        found = len(layers - {None, -1})
        if found < part:
            raise TrainingError(
                f"training.freeze is {part}, and the {model.config.model_type} encoder has {found} "
                f"layers with weights of their own: set it to {found} or less, or to `encoder`"
            )


def _layer(model: PreTrainedModel, name: str) -> int | None:
    """The layer of a parameter, from 0; -1 if it feeds the first or every layer; else None."""
    if layer := LAYER_NAME.search(name):
        return int(layer[1])
    modules = ("embeddings", *BELOW_LAYERS.get(model.config.model_type, ()))
    below = tuple(f"{model.base_model_prefix}.{module}." for module in modules)
    return -1 if name.startswith(below) else None
