"""Which parts of a model are not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun_assets.errors import TrainingError
from mlrun_assets.trainer.depth import is_below_layers, layer_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def freeze(model: PreTrainedModel, part: str | int) -> None:
    """Exclude ``part`` from training.

    Args:
        model: a classifier.
        part: ``none``, ``embeddings`` (of the word pieces), ``encoder`` (all but the head), or the
            number of the lowest layers, which are frozen together with all embeddings (those of
            relative positions, which every layer reads, among them).

    Raises:
        TrainingError: the encoder has fewer layers that can be told apart.
    """
    if isinstance(part, int):
        _freeze_layers(model, part)
    elif part == "embeddings":
        model.get_input_embeddings().requires_grad_(False)
    elif part == "encoder":
        model.base_model.requires_grad_(False)


def _freeze_layers(model: PreTrainedModel, lowest: int) -> None:
    found = set()
    for name, parameter in model.named_parameters():
        layer = layer_of(name)
        if layer is not None:
            found.add(layer)
        if is_below_layers(model, name) or (layer is not None and layer < lowest):
            parameter.requires_grad_(False)
    if len(found) < lowest:
        raise TrainingError(
            f"training.freeze is {lowest}, and the {model.config.model_type} encoder has "
            f"{len(found)} layers that can be told apart: set it to {len(found)} or less, or to "
            "`encoder`"
        )
