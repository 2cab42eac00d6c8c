"""What lets a CPU train an encoder faster: attention as matrix products, states in bfloat16.

PyTorch's fused attention keeps memory small, but on a CPU its backward pass is several times slower
than the matrix products that it saves (``docs/decisions/009-training-speed.md``).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

ATTENTION = "batched_products"


def tune_for_cpu(model: PreTrainedModel, bf16: bool) -> None:
    """Change how ``model`` computes, not what: nothing of it is saved with the model.

    Args:
        model: an encoder with a head.
        bf16: it is trained under bfloat16 autocast.
    """
    if model._can_set_attn_implementation() and _attends_to_all(model):  # noqa: SLF001
        AttentionInterface.register(ATTENTION, batched_products)
        AttentionMaskInterface.register(ATTENTION, padding_bias)
        model.set_attn_implementation(ATTENTION)
    embeddings = getattr(model.base_model, "embeddings", None)
    if bf16 and embeddings is not None:
        # A float32 state would be cast for every product that reads it, and stay float32 behind it.
        embeddings.register_forward_hook(_in_bfloat16)


def _attends_to_all(model: PreTrainedModel) -> bool:
    """Whether each token sees all others: no causal mask, no window, a key for each query head."""
    heads = getattr(model.config, "num_attention_heads", None)
    return (
        not getattr(model.config, "is_decoder", False)
        and not any(getattr(module, "is_causal", False) for module in model.modules())
        and "sliding_attention" not in (getattr(model.config, "layer_types", None) or ())
        and (getattr(model.config, "num_key_value_heads", None) or heads) == heads
    )


def drop_no_attention(model: PreTrainedModel) -> None:
    """Leave the attention weights whole in training; the states are dropped as before."""
    for module in model.modules():
        if "Attention" not in type(module).__name__:
            continue
        for name in ("dropout", "attention_dropout"):
            rate = getattr(module, name, None)
            if isinstance(rate, torch.nn.Dropout):
                rate.p = 0.0
            elif isinstance(rate, float):
                setattr(module, name, 0.0)


def _in_bfloat16(_module: torch.nn.Module, _inputs: Any, states: torch.Tensor) -> torch.Tensor:
    return states.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else states


def padding_bias(
    batch_size: int,
    kv_length: int,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **_: Any,
) -> torch.Tensor | None:
    """What is added to the products of every query: the lowest number where there is padding.

    Shape (rows, 1, tokens); None where nothing is padded. The mask is the same for all queries, as
    it is in an encoder.
    """
    if attention_mask is None:
        return None
    padded = ~attention_mask.view(batch_size, 1, kv_length).bool()
    bias = torch.zeros(padded.shape, dtype=dtype, device=padded.device)
    return bias.masked_fill_(padded, torch.finfo(dtype).min)


def batched_products(  # noqa: PLR0913, PLR0917  transformers calls it so
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the precision of ``query``, all of shape (rows, heads, tokens, width).

    Returns:
        The attended values, shape (rows, tokens, heads, width), and no weights.
    """
    rows, heads, tokens, width = query.shape
    query, key, value = (part.reshape(rows * heads, tokens, width) for part in (query, key, value))
    if attention_mask is None:
        bias = query.new_zeros(1, 1, 1)
    else:
        bias = attention_mask.to(query.dtype).repeat_interleave(heads, dim=0)
    with torch.autocast(query.device.type, enabled=False):
        # Autocast would have the softmax in float32, at the cost of two copies of the products.
        products = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling)
        weights = torch.softmax(products, dim=-1)
        weights = torch.dropout(weights, dropout, train=module.training)
        attended = torch.bmm(weights, value)
    return attended.view(rows, heads, tokens, width).transpose(1, 2).contiguous(), None
