"""The rules: one function per choice, from the `PlanningInputs` to a `ChosenValue`.

The sections are batch size, labels (class weights, label smoothing), schedule (learning rate,
epochs, early stopping, warm-up, decay) and encoder (freezing, memory, pooling, trimming, bf16).
"""

from __future__ import annotations

from mlrun_assets.encoders.trimming import VOCABULARY_BUDGET
from mlrun_assets.errors import ConfigError, count
from mlrun_assets.plan.choice import ChosenValue, PlanningInputs, choose
from mlrun_assets.records import DatasetRecord

# Batch size

SMALL_BATCH = 16


def batch_size(inputs: PlanningInputs) -> ChosenValue:
    """Small batches for small data, so that an epoch has enough steps."""
    return ChosenValue(
        _batch_size_by_rule(inputs),
        "16 below 2,000 rows, which need many steps (Mosbach et al., 2021), else 32",
        inputs.rows_evidence,
    )


def _batch_size_by_rule(inputs: PlanningInputs) -> int:
    rows = SMALL_BATCH if inputs.is_small else 2 * SMALL_BATCH
    workers = inputs.config.training.num_workers
    return -(-rows // workers) * workers  # every worker gets the same number of rows


# Labels: class weights and label smoothing

# Training rows of the largest label per row of the smallest.
BALANCED_FROM, SQRT_FROM = 3.0, 10.0
MAX_SQRT_WEIGHT = 5.0


def class_weights(inputs: PlanningInputs) -> ChosenValue:
    """The kind of class weights: ``none``, ``balanced`` or ``sqrt``."""
    imbalance = inputs.dataset.imbalance
    kind = "balanced" if imbalance >= BALANCED_FROM else "none"
    return ChosenValue(
        "sqrt" if imbalance >= SQRT_FROM else kind,
        "imbalance of 3 or more: weights are inverse frequencies; 10 or more: their square roots",
        f"the largest label has {imbalance:.1f} times the rows of the smallest",
    )


def weight_per_label(dataset: DatasetRecord, kind: object) -> tuple[float, ...] | None:
    """The class weights of a ``kind``, in the order of the labels; None without weights.

    ``balanced``: inverse frequencies with mean 1 over the rows. ``sqrt``: their square roots, at
    most 5. A label without training rows, which the data checks block, weighs like one with a row.
    """
    if kind == "none":
        return None
    label_rows = dataset.splits["train"].label_rows
    counts = [max(1, label_rows[label]) for label in dataset.labels]
    inverse = [sum(counts) / (len(counts) * rows) for rows in counts]
    if kind == "balanced":
        return tuple(inverse)
    return tuple(min(MAX_SQRT_WEIGHT, weight**0.5) for weight in inverse)


def label_smoothing(inputs: PlanningInputs) -> ChosenValue:
    """A tenth of the probability mass on small data."""
    return ChosenValue(
        0.1 if inputs.is_small else 0.0,
        "0.1 below 2,000 rows: models trained on few rows are overconfident",
        inputs.rows_evidence,
    )


# Schedule

VERY_SMALL_DATA_ROWS = 1_000
LONG_TEXT_TOKENS = 128
NARROW_ENCODER = 512


def learning_rate(inputs: PlanningInputs) -> ChosenValue:
    """By the trained part and the encoder's width; `best_learning_rate` may replace it."""
    if choose("training.freeze", freeze, inputs).value == "encoder":
        return ChosenValue(
            1e-2,
            "a linear head alone starts from nothing and has nothing to forget",
            "the encoder is frozen",
        )
    hidden = inputs.hardware.hidden_size
    return ChosenValue(
        1e-4 if hidden < NARROW_ENCODER else 3e-5,
        "a narrow encoder takes, and needs, larger steps than a base-sized one",
        f"the encoder is {hidden} wide",
    )


def epochs(inputs: PlanningInputs) -> ChosenValue:
    """More passes over fewer rows, fewer over long texts."""
    median = inputs.dataset.splits["train"].tokens_median
    read = min(median, inputs.config.model.max_length)
    if inputs.is_small and read > LONG_TEXT_TOKENS:
        return ChosenValue(
            6,
            f"6 where more than {LONG_TEXT_TOKENS} tokens of a text are read: an epoch then "
            "takes minutes on a CPU",
            f"{inputs.rows_evidence}; {read:.0f} tokens of the median text are read",
        )
    few = 15 if inputs.rows < VERY_SMALL_DATA_ROWS else 10
    return ChosenValue(
        few if inputs.is_small else 5,
        "15 below 1,000 rows and 10 below 2,000, where long training is the stable one (Mosbach et "
        "al., 2021), else 5",
        inputs.rows_evidence,
    )


def early_stopping_patience(inputs: PlanningInputs) -> ChosenValue:
    """Four epochs: val is small and its F1 is noisy."""
    return ChosenValue(
        4,
        "stops when val macro-F1 has not risen for some epochs; the best epoch is kept",
        f"{inputs.dataset.splits['val'].rows_kept:,} val rows",
    )


def warmup_fraction(inputs: PlanningInputs) -> ChosenValue:
    """A tenth of the steps, whatever the data."""
    return ChosenValue(
        0.1,
        "a short warm-up protects the pretrained weights in the first steps",
        f"a tenth of the steps (Mosbach et al., 2021); {inputs.rows_evidence}",
    )


def layerwise_decay(inputs: PlanningInputs) -> ChosenValue:
    """Lower layers learn more slowly on small data."""
    return ChosenValue(
        0.9 if inputs.is_small else 1.0,
        "0.9 below 2,000 rows: a lower learning rate protects the pretrained lower layers "
        "(Zhang et al., 2021)",
        inputs.rows_evidence,
    )


def group_by_length(inputs: PlanningInputs) -> ChosenValue:
    """Always: it costs nothing, and padding takes as long as text."""
    train = inputs.dataset.splits["train"]
    return ChosenValue(
        True,
        "texts of similar length share a batch, so that little of it is padding",
        f"tokens of a training text: median {train.tokens_median:.0f}, 95th percentile "
        f"{train.tokens_p95:.0f}",
    )


# Encoder

LARGE_VOCABULARY = 50_000
WORTHWHILE_BF16_SPEEDUP = 1.2
HEAD_ONLY_ROWS = 20
# In float32: the weight, its gradient and AdamW's two moments.
BYTES_PER_TRAINED_PARAMETER = 16
# Kept for the backward pass, per token of a batch, layer and unit of width. Together with the
# memory of the process it gives the measurements on a CPU (docs/decisions/009).
ACTIVATION_BYTES = 80
PROCESS_GB = 0.7
# Sixteen digits after "sha256:" tell encoders apart and fit a table.
DIGEST_SHOWN = 23


def freeze(inputs: PlanningInputs) -> ChosenValue:
    """The encoder if a label is rare; the embeddings if memory is short."""
    rarest = inputs.rarest_label_rows
    if rarest < HEAD_ONLY_ROWS:
        return ChosenValue(
            "encoder",
            f"below {HEAD_ONLY_ROWS} rows of a label a linear head on the frozen encoder is the "
            "safer model",
            f"the rarest label has {count(rarest, 'training row')}",
        )
    needed, available = needed_memory_gb(inputs), inputs.hardware.available_memory_gb
    if needed > available:
        return ChosenValue(
            "embeddings",
            "memory is short, and embeddings that are not trained need a quarter of it",
            f"training all takes about {needed:.1f} GB, {available:.1f} GB are available",
        )
    return ChosenValue(
        "none",
        "every label has enough rows, and memory is not short",
        f"the rarest label has {count(rarest, 'training row')}; about {needed:.1f} of "
        f"{available:.1f} GB are needed",
    )


def needed_memory_gb(inputs: PlanningInputs) -> float:
    """Approximate memory in GB (2**30 bytes) to train the whole encoder on this machine.

    Every worker holds all weights and its part of a batch of texts of ``model.max_length`` tokens.
    A layer has 12 times its squared width in parameters: four matrices in the attention, two of
    four times the width in the feed-forward network.
    """
    hardware, training = inputs.hardware, inputs.config.training
    pieces = hardware.vocabulary
    if choose("model.trim_vocabulary", trim_vocabulary, inputs).value:
        pieces = min(pieces, VOCABULARY_BUDGET)
    hidden = hardware.hidden_size
    parameters = pieces * hidden + hardware.layers * 12 * hidden**2
    rows = _batch_size_by_rule(inputs) if training.batch_size == "auto" else training.batch_size
    tokens = rows * inputs.config.model.max_length
    activations = tokens * hidden * hardware.layers * ACTIVATION_BYTES / 2**30
    process = parameters * BYTES_PER_TRAINED_PARAMETER / 2**30 + PROCESS_GB
    if hardware.accelerator is None and training.ray_address is None:
        return process * training.num_workers + activations
    return process + activations / training.num_workers


def check_frozen_layers(inputs: PlanningInputs) -> None:
    """Check that the encoder has as many layers as ``training.freeze`` requires.

    Raises:
        ConfigError: it has fewer; the message names their number.
    """
    wanted, layers = inputs.config.training.freeze, inputs.hardware.layers
    if isinstance(wanted, int) and wanted > layers:
        raise ConfigError(
            f"training.freeze is {wanted}, and {inputs.config.model.name} has {layers} layers: "
            f"set it to {layers} or less, or to `encoder`"
        )


def pooling(inputs: PlanningInputs) -> ChosenValue:
    """The pooling that the encoder was pretrained with."""
    by_mean = inputs.hardware.trained_by_mean
    return ChosenValue(
        "mean" if by_mean else "first",
        "the pooling that the encoder was pretrained with",
        f"{inputs.config.model.name} was trained on the {'mean' if by_mean else 'first token'}",
    )


def trim_vocabulary(inputs: PlanningInputs) -> ChosenValue:
    """Large vocabularies on a CPU, where updating unused pieces takes time and memory."""
    hardware = inputs.hardware
    on_cpu, can_trim = hardware.accelerator is None, hardware.untrimmable is None
    evidence = f"{hardware.vocabulary:,} pieces, {hardware.accelerator or 'no accelerator'}"
    return ChosenValue(
        on_cpu and can_trim and hardware.vocabulary > LARGE_VOCABULARY,
        f"on if training is on a CPU and the vocabulary has over {LARGE_VOCABULARY:,} pieces: "
        "unused pieces cost time and memory",
        evidence if can_trim else f"{evidence}; {hardware.untrimmable}",
    )


def bf16(inputs: PlanningInputs) -> ChosenValue:
    """Bfloat16 if a short probe showed that it is faster."""
    speedup = inputs.hardware.bf16_speedup
    return ChosenValue(
        speedup >= WORTHWHILE_BF16_SPEEDUP,
        f"bfloat16 where this machine multiplies it {WORTHWHILE_BF16_SPEEDUP} times as fast as "
        "float32",
        f"a matrix product in bfloat16 is {speedup:.1f} times as fast as in float32",
    )


def attention_dropout(inputs: PlanningInputs) -> ChosenValue:
    """Off on a CPU, where drawing the mask takes longer than the attention."""
    accelerator = inputs.hardware.accelerator
    return ChosenValue(
        accelerator is not None,
        "off on a CPU: drawing the mask takes longer than the attention; dropout of the hidden "
        "states stays on",
        accelerator or "no accelerator",
    )


def encoder_digest(inputs: PlanningInputs) -> ChosenValue:
    """Identify the encoder's files: those in a directory or a branch of the hub can change."""
    return ChosenValue(
        inputs.hardware.encoder_digest[:DIGEST_SHOWN],
        "an earlier run can be reused only if the encoder files are the same",
        inputs.config.model.name,
    )
