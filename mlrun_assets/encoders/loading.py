"""A tokenizer and a classifier out of an ``EncoderSource``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun_assets.encoders.encoder_config import load_config, source_directory, unloadable
from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

POOLER = ".pooler."


def load_tokenizer(source: EncoderSource) -> PreTrainedTokenizerFast:
    """The encoder's tokenizer, as transformers' ``AutoTokenizer`` gives it.

    Raises:
        EncoderError: it can't be loaded, or is of no use for batches (no padding token, not backed
            by ``tokenizers``) or for this encoder (ids beyond its vocabulary).
    """
    directory = source_directory(source)
    config = load_config(source)
    with quiet_transformers():
        from transformers import AutoTokenizer

        if not (Path(directory) / "tokenizer.json").is_file():
            _lend_sentencepiece_its_messages()

        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise unloadable(source, "tokenizer", error) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lack = "padding token" if tokenizer.is_fast else "tokenizer.json"
        raise EncoderError(f"the tokenizer of {source.name} has no {lack}: choose another encoder.")
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise EncoderError(
            f"the tokenizer of {source.name} has {len(tokenizer)} ids, its model only {size}: "
            "they do not belong together."
        )
    return tokenizer


def load_classifier(source: EncoderSource, labels: tuple[str, ...]) -> PreTrainedModel:
    """The encoder with a head for ``labels``, in float32 on the CPU.

    The layer that gives the logits always starts fresh, drawn from torch's global generator (seed
    it first): logits of another task are no start, even where their number is the same.

    Raises:
        EncoderError: the model can't be loaded, has no classifier in transformers, or weights of
            the encoder itself are missing or of another shape.
    """
    directory = source_directory(source)
    load_config(source)  # says more of what is wrong than the model's own loading does
    with quiet_transformers():
        from transformers import AutoModelForSequenceClassification

        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                directory,
                num_labels=len(labels),
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                problem_type="single_label_classification",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype="float32",
            )
        except Exception as error:  # safetensors and model classes raise their own
            raise unloadable(source, "model", error) from error
    _check_encoder_weights(source, model, report)
    _reset_logits(model, len(labels))
    return model


def _lend_sentencepiece_its_messages() -> None:
    """Make a directory readable that has its pieces in a ``sentencepiece.bpe.model`` only.

    transformers reads it with sentencepiece's own protobuf classes, and those refuse to load with a
    protobuf older than the one that generated them; the same classes come with transformers too.
    """
    refused = importlib.import_module("google.protobuf.runtime_version").VersionError
    name = "sentencepiece.sentencepiece_model_pb2"
    try:
        importlib.import_module(name)
    except refused:
        substitute = "transformers.utils.sentencepiece_model_pb2_new"
        sys.modules[name] = importlib.import_module(substitute)


def _check_encoder_weights(
    source: EncoderSource, model: PreTrainedModel, report: dict[str, Any]
) -> None:
    """A pooler or a head may be new; a part of the encoder that is random ruins the run."""
    mismatched = [entry[0] for entry in report["mismatched_keys"]]
    prefix = f"{model.base_model_prefix}."
    lost = _encoder_keys([*report["missing_keys"], *mismatched], prefix)
    if lost:
        raise EncoderError(
            f"the weights of {source.name} ({source.location}) do not fit its config: {len(lost)} "
            f"tensors of the encoder are missing or have another shape, among them {lost[0]}. "
            "Fetch or save the encoder again."
        )


def _encoder_keys(keys: Iterable[str], prefix: str) -> list[str]:
    return sorted(key for key in keys if key.startswith(prefix) and POOLER not in key)


def _reset_logits(model: PreTrainedModel, labels: int) -> None:
    """Draw the weights of the head's last layer as BERT does (Devlin et al., 2019)."""
    from torch import nn

    deviation = getattr(model.config, "initializer_range", 0.02)
    for name, module in model.named_modules():
        in_encoder = name.split(".")[0] == model.base_model_prefix
        if isinstance(module, nn.Linear) and module.out_features == labels and not in_encoder:
            _draw(module, deviation)


def _draw(layer: nn.Linear, deviation: float) -> None:
    from torch import nn

    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
