"""Rules about the encoder: what of it is trained, and in which shape and precision."""

from __future__ import annotations

from mlrun_assets.encoders import VOCABULARY_BUDGET
from mlrun_assets.errors import ConfigError
from mlrun_assets.stages.plan.batch import rows_a_batch
from mlrun_assets.stages.plan.choosing import Ruling, choose
from mlrun_assets.stages.plan.situation import Situation

LARGE_VOCABULARY = 50_000
WORTHWHILE_BF16_SPEEDUP = 1.2
HEAD_ONLY_ROWS = 20
# In float32: the weight, its gradient and AdamW's two moments.
BYTES_A_TRAINED_PARAMETER = 16
# Of each token of a batch, layer and unit of width: what is kept for the way back. With the process
# itself it gives what was measured on a CPU (docs/decisions/009).
ACTIVATION_BYTES = 80
PROCESS_GB = 0.7
# Sixteen digits behind "sha256:" tell encoders apart and fit a table.
DIGEST_SHOWN = 23


def freeze(situation: Situation) -> Ruling:
    """The encoder where labels are rare; the embeddings where memory is short."""
    if situation.fewest < HEAD_ONLY_ROWS:
        return Ruling(
            "encoder",
            f"below {HEAD_ONLY_ROWS} rows of a label a linear head on the frozen encoder is the "
            "safer model",
            f"the rarest label has {situation.fewest} training rows",
        )
    needed, available = needed_memory_gb(situation), situation.circumstances.available_memory_gb
    if needed > available:
        return Ruling(
            "embeddings",
            "memory is short, and embeddings that are not trained need a quarter of it",
            f"training all takes about {needed:.1f} GB, {available:.1f} GB are available",
        )
    return Ruling(
        "none",
        "every label has rows enough, and memory is not short",
        f"the rarest label has {situation.fewest} training rows; about {needed:.1f} of "
        f"{available:.1f} GB are needed",
    )


def needed_memory_gb(situation: Situation) -> float:
    """About what training the whole encoder takes, in GB of 2**30 bytes, on this machine's memory.

    Each worker holds all of the weights, and its part of a batch of texts that fill
    ``model.max_length``. A layer has 12 times its width squared in parameters: four products in
    the attention, two of four times the width after it.
    """
    circumstances = situation.circumstances
    pieces = circumstances.vocabulary
    if choose("model.trim_vocabulary", trim_vocabulary, situation).value:
        pieces = min(pieces, VOCABULARY_BUDGET)
    hidden = circumstances.hidden_size
    parameters = pieces * hidden + circumstances.layers * 12 * hidden**2
    training = situation.config.training
    tokens = rows_a_batch(situation) * situation.config.model.max_length
    activations = tokens * hidden * circumstances.layers * ACTIVATION_BYTES / 2**30
    process = parameters * BYTES_A_TRAINED_PARAMETER / 2**30 + PROCESS_GB
    if circumstances.accelerator is None and training.ray_address is None:
        return process * training.num_workers + activations
    return process + activations / training.num_workers


def check_frozen_layers(situation: Situation) -> None:
    """Check that the encoder has as many layers as ``training.freeze`` asks for.

    Raises:
        ConfigError: it has fewer; the message names their number.
    """
    wanted, layers = situation.config.training.freeze, situation.circumstances.layers
    if isinstance(wanted, int) and wanted > layers:
        raise ConfigError(
            f"training.freeze is {wanted}, and {situation.config.model.name} has {layers} layers: "
            f"set it to {layers} or less, or to `encoder`"
        )


def pooling(situation: Situation) -> Ruling:
    """What the encoder was trained to give."""
    by_mean = situation.circumstances.trained_by_mean
    return Ruling(
        "mean" if by_mean else "first",
        "a classifier starts best from what the encoder was trained to give",
        f"{situation.config.model.name} was trained on the {'mean' if by_mean else 'first token'}",
    )


def trim_vocabulary(situation: Situation) -> Ruling:
    """Large vocabularies, where a CPU has to update them."""
    circumstances = situation.circumstances
    on_cpu, can = circumstances.accelerator is None, circumstances.untrimmable is None
    evidence = (
        f"{circumstances.vocabulary:,} pieces, {circumstances.accelerator or 'no accelerator'}"
    )
    return Ruling(
        on_cpu and can and circumstances.vocabulary > LARGE_VOCABULARY,
        f"on a CPU, above {LARGE_VOCABULARY:,} pieces: those that the data never uses cost time "
        "and memory",
        evidence if can else f"{evidence}; {circumstances.untrimmable}",
    )


def bf16(situation: Situation) -> Ruling:
    """Where a short probe has shown it to be faster."""
    speedup = situation.circumstances.bf16_speedup
    return Ruling(
        speedup >= WORTHWHILE_BF16_SPEEDUP,
        f"bfloat16 where this machine multiplies it {WORTHWHILE_BF16_SPEEDUP} times as fast as "
        "float32",
        f"a matrix product is {speedup:.1f} times as fast",
    )


def attention_dropout(situation: Situation) -> Ruling:
    """Off on a CPU, where drawing it takes longer than the attention itself."""
    accelerator = situation.circumstances.accelerator
    return Ruling(
        accelerator is not None,
        "on a CPU the attention drops nothing: drawing the mask takes longer than the attention, "
        "and the states are dropped as before",
        accelerator or "no accelerator",
    )


def encoder_digest(situation: Situation) -> Ruling:
    """Which files the encoder is: a directory, or a branch of the hub, can hold others tomorrow."""
    return Ruling(
        situation.circumstances.encoder_digest[:DIGEST_SHOWN],
        "an earlier run counts as the same only with the same files",
        situation.config.model.name,
    )
