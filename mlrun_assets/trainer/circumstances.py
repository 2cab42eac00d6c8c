"""What a recipe must fit: the machine and the encoder."""

from __future__ import annotations

from dataclasses import dataclass

from mlrun_assets import encoders
from mlrun_assets.encoders import EncoderSource
from mlrun_assets.machine import bf16_speedup, trainable_memory_bytes


@dataclass(frozen=True)
class Circumstances:
    """The machine and the encoder, as far as the training plan looks at them.

    ``encoder_digest`` is of all files of the encoder: behind a name there can be others tomorrow.
    ``untrimmable`` says why the vocabulary can't be trimmed; None: it can. ``trained_by_mean``:
    the encoder is known to have learned to give the mean of its states. ``positions`` is how many
    tokens it can read; None: it sets no limit. ``available_memory_gb``, of 2**30 bytes, is the
    accelerator's where there is one.
    """

    encoder_digest: str
    accelerator: str | None
    available_memory_gb: float
    bf16_speedup: float
    hidden_size: int
    layers: int
    positions: int | None
    vocabulary: int
    untrimmable: str | None
    trained_by_mean: bool


def observe(encoder: EncoderSource, max_length: int) -> Circumstances:
    """Look at the machine and at the encoder's config; takes a fraction of a second after imports.

    Raises:
        EncoderError: the encoder can't be found, or reads fewer tokens than ``max_length``.
    """
    import torch

    encoders.check_max_length(encoder, max_length)
    config = encoders.load_config(encoder)
    has_accelerator = torch.cuda.is_available()
    return Circumstances(
        encoder_digest=encoders.digest_encoder(encoder),
        accelerator=torch.cuda.get_device_name(0) if has_accelerator else None,
        available_memory_gb=trainable_memory_bytes(has_accelerator) / 2**30,
        bf16_speedup=bf16_speedup(has_accelerator),
        hidden_size=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        positions=encoders.model_positions(encoder),
        vocabulary=int(config.vocab_size),
        trained_by_mean=encoder.kind == "embedded",
        untrimmable=encoders.can_trim(encoders.load_tokenizer(encoder)),
    )
