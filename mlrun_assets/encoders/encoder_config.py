"""What an encoder's config says before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlrun_assets.encoders.hub import hub_directory
from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.errors import EncoderError
from mlrun_assets.files import digest_directory

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Their position ids start behind the padding id, so that many positions are never used.
POSITIONS_BEHIND_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


def source_directory(source: EncoderSource) -> str:
    """The directory that holds the encoder; a model of the hub is fetched if it is not cached.

    Raises:
        EncoderError: a model of the hub can't be fetched.
    """
    if source.kind == "hub":
        return str(hub_directory(source.location, source.revision))
    return source.location


def load_config(source: EncoderSource) -> PreTrainedConfig:
    """The encoder's config, as transformers' ``AutoConfig`` gives it.

    Raises:
        EncoderError: it can't be read, needs code that is not in transformers, or is that of a
            model without a sequence classifier.
    """
    directory = source_directory(source)
    with quiet_transformers():
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
        )

        try:
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # a config of the wrong types raises its own
            raise unloadable(source, "config", error) from error
    if config.model_type not in CLASSIFIERS:
        raise EncoderError(
            f"{source.name} ({source.location}) is of type {config.model_type}, for which "
            "transformers has no sequence classifier: choose an encoder of text, such as "
            "xlm-roberta, bert or deberta-v2."
        )
    return config


def model_positions(source: EncoderSource) -> int | None:
    """The number of tokens that the encoder can read; None: it sets no limit.

    Raises:
        EncoderError: the encoder's config can't be read.
    """
    config = load_config(source)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or getattr(config, "position_biased_input", True) is False:
        return None
    if config.model_type in POSITIONS_BEHIND_PADDING:
        return int(positions) - int(config.pad_token_id or 0) - 1
    return int(positions)


def check_max_length(source: EncoderSource, max_length: int) -> None:
    """Check that the encoder can read ``max_length`` tokens.

    Raises:
        EncoderError: it can't, and the message names the maximum; or its config can't be read.
    """
    positions = model_positions(source)
    if positions is not None and max_length > positions:
        raise EncoderError(
            f"model.max_length is {max_length}, and {source.name} reads {positions} tokens at "
            f"most: set model.max_length to {positions} or less."
        )


def unloadable(source: EncoderSource, part: str, error: Exception) -> EncoderError:
    """The error for a ``part`` of the encoder that a library can't load."""
    if "trust_remote_code" in str(error):
        return EncoderError(
            f"the {part} of {source.name} ({source.location}) needs code of its own (`auto_map`), "
            "which is never run here: choose an encoder that transformers itself knows, such as "
            "xlm-roberta, bert or deberta-v2."
        )
    details = str(error).strip().splitlines() or ["no details"]
    return EncoderError(
        f"the {part} of {source.name} ({source.location}) can't be loaded: "
        f"{type(error).__name__}: {details[0]} Check model.name, or fetch the encoder again."
    )


def digest_encoder(encoder: EncoderSource) -> str:
    """One digest of all files of the encoder, wherever they are.

    Raises:
        EncoderError: a model of the hub can't be fetched.
    """
    return digest_directory(Path(source_directory(encoder)))
