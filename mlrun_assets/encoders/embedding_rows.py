"""The rows of a model's vocabulary: those of kept pieces, in their new order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun_assets.arrays import IntArray
from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def trim_embeddings(model: PreTrainedModel, kept_ids: IntArray) -> None:
    """Keep the rows ``kept_ids`` of everything in ``model`` that is as long as its vocabulary.

    That is the input embeddings and, in a language model, the output layer with its bias, tied or
    not. The config's vocabulary size and special ids follow. ``model`` is changed in place.

    Raises:
        EncoderError: the model has fewer rows than the tokenizer has ids.
    """
    import torch

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if (rows := inputs.weight.shape[0]) <= kept_ids[-1]:
        raise EncoderError(
            f"the model has {rows} embeddings and the tokenizer an id {kept_ids[-1]}: they do not "
            "belong together."
        )
    _cut_rows(model, _vocabulary_parameters(model, rows), torch.from_numpy(kept_ids))
    inputs.num_embeddings = len(kept_ids)
    if outputs is not None and outputs.weight.shape[0] == len(kept_ids):
        outputs.out_features = len(kept_ids)
    new_ids = {old_id: new_id for new_id, old_id in enumerate(kept_ids.tolist())}
    if inputs.padding_idx is not None:
        inputs.padding_idx = new_ids.get(inputs.padding_idx)
    _update_config(model, new_ids)


def _vocabulary_parameters(model: PreTrainedModel, rows: int) -> list[nn.Parameter]:
    """Input embeddings, output layer, and biases of the language-model head, tied or not.

    What DeBERTa's newer head calls its output layer is a layer before it: its output is multiplied
    by the input embeddings, and only its bias is as long as the vocabulary.
    """
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs is None:
        return [inputs.weight]
    biases = [
        parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name.endswith("bias")
        and parameter.shape == (rows,)
        and not name.startswith(f"{model.base_model_prefix}.")
    ]
    weights = [inputs.weight, outputs.weight]
    return [*(weight for weight in weights if weight.shape == inputs.weight.shape), *biases]


def _cut_rows(model: nn.Module, parameters: list[nn.Parameter], index: Tensor) -> None:
    """Cut the rows of the parameters, wherever in the model each of them is used."""
    from torch import nn

    cut = {
        id(parameter): nn.Parameter(
            parameter.detach()[index], requires_grad=parameter.requires_grad
        )
        for parameter in parameters
    }
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) in cut:
                setattr(module, name, cut[id(parameter)])


def _update_config(model: PreTrainedModel, new_ids: dict[int, int]) -> None:
    config = model.config.get_text_config()
    config.vocab_size = len(new_ids)
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_ids.get(value))
