"""Where in an encoder a parameter stands, told by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LAYER = re.compile(r"\.layers?\.(\d+)\.")
# What stands beside the layers and is read by the lowest one, or by all of them. Whole names, a
# type each: `encoder.LayerNorm` is the norm of DeBERTa's relative positions and elsewhere the last
# one, before the head.
_BELOW_LAYERS = {
    "albert": ("encoder.embedding_hidden_mapping_in",),
    "convbert": ("embeddings_project",),
    "deberta": ("encoder.rel_embeddings", "encoder.LayerNorm"),
    "deberta-v2": ("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
    "electra": ("embeddings_project",),
    "mpnet": ("encoder.relative_attention_bias",),
    "rembert": ("encoder.embedding_hidden_mapping_in",),
}


def layer_of(name: str) -> int | None:
    """The layer that the parameter ``name`` belongs to, from 0; None: it stands beside them."""
    layer = _LAYER.search(name)
    return int(layer[1]) if layer else None


def is_below_layers(model: PreTrainedModel, name: str) -> bool:
    """Whether the layers of ``model`` build on the parameter ``name``: an embedding or the like."""
    parts = ("embeddings", *_BELOW_LAYERS.get(model.config.model_type, ()))
    return name.startswith(tuple(f"{model.base_model_prefix}.{part}." for part in parts))
