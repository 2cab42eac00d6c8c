"""Rules about the encoder: what of it is trained, and in which shape and precision."""

from __future__ import annotations

from mlrun_assets.encoders.trimming import VOCABULARY_BUDGET
from mlrun_assets.errors import ConfigError
from mlrun_assets.plan.choice import PlanningInputs, Ruling, choose
from mlrun_assets.records import DatasetRecord

SMALL_BATCH = 16


def batch_size(situation: PlanningInputs) -> Ruling:
    """Small batches for small data: an epoch must have steps enough."""
    return Ruling(
        _by_rule(situation),
        "16 below 2,000 rows, which need many steps (Mosbach et al., 2021), else 32",
        situation.said_rows,
    )


def rows_a_batch(situation: PlanningInputs) -> int:
    """What the config sets, else what the rule says."""
    configured = situation.config.training.batch_size
    return _by_rule(situation) if configured == "auto" else configured


def _by_rule(situation: PlanningInputs) -> int:
    rows = SMALL_BATCH if situation.is_small else 2 * SMALL_BATCH
    workers = situation.config.training.num_workers
    return -(-rows // workers) * workers  # each has an equal part


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


def freeze(situation: PlanningInputs) -> Ruling:
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


def needed_memory_gb(situation: PlanningInputs) -> float:
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


def check_frozen_layers(situation: PlanningInputs) -> None:
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


def pooling(situation: PlanningInputs) -> Ruling:
    """What the encoder was trained to give."""
    by_mean = situation.circumstances.trained_by_mean
    return Ruling(
        "mean" if by_mean else "first",
        "a classifier starts best from what the encoder was trained to give",
        f"{situation.config.model.name} was trained on the {'mean' if by_mean else 'first token'}",
    )


def trim_vocabulary(situation: PlanningInputs) -> Ruling:
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


def bf16(situation: PlanningInputs) -> Ruling:
    """Where a short probe has shown it to be faster."""
    speedup = situation.circumstances.bf16_speedup
    return Ruling(
        speedup >= WORTHWHILE_BF16_SPEEDUP,
        f"bfloat16 where this machine multiplies it {WORTHWHILE_BF16_SPEEDUP} times as fast as "
        "float32",
        f"a matrix product is {speedup:.1f} times as fast",
    )


def attention_dropout(situation: PlanningInputs) -> Ruling:
    """Off on a CPU, where drawing it takes longer than the attention itself."""
    accelerator = situation.circumstances.accelerator
    return Ruling(
        accelerator is not None,
        "on a CPU the attention drops nothing: drawing the mask takes longer than the attention, "
        "and the states are dropped as before",
        accelerator or "no accelerator",
    )


def encoder_digest(situation: PlanningInputs) -> Ruling:
    """Which files the encoder is: a directory, or a branch of the hub, can hold others tomorrow."""
    return Ruling(
        situation.circumstances.encoder_digest[:DIGEST_SHOWN],
        "an earlier run counts as the same only with the same files",
        situation.config.model.name,
    )


UNEQUAL, VERY_UNEQUAL = 3.0, 10.0
MAX_SQRT_WEIGHT = 5.0


def label_smoothing(situation: PlanningInputs) -> Ruling:
    """A tenth of the probability mass on small data."""
    return Ruling(
        0.1 if situation.is_small else 0.0,
        "0.1 below 2,000 rows, which make a model too sure of itself",
        situation.said_rows,
    )


def class_weights(situation: PlanningInputs) -> Ruling:
    """Which kind of weights; `label_weights` are the weights themselves."""
    imbalance = situation.dataset.imbalance
    kind = "balanced" if imbalance >= UNEQUAL else "none"
    return Ruling(
        "sqrt" if imbalance >= VERY_UNEQUAL else kind,
        "from 3 to 1 on rare labels weigh more, by their frequency; from 10 to 1 on by its root",
        f"the largest label has {imbalance:.1f} times the rows of the smallest",
    )


def label_weights(dataset: DatasetRecord, kind: object) -> tuple[float, ...] | None:
    """Inverse frequencies with mean 1 over the rows, or their roots, capped.

    A label without training rows, which the data checks block, would weigh like one with one row.
    """
    if kind == "none":
        return None
    rows = dataset.splits["train"].label_rows
    counts = [max(1, rows[label]) for label in dataset.labels]
    inverse = [sum(counts) / (len(counts) * count) for count in counts]
    if kind == "balanced":
        return tuple(inverse)
    return tuple(min(MAX_SQRT_WEIGHT, weight**0.5) for weight in inverse)


VERY_SMALL_DATA_ROWS = 1_000
LONG_TEXT_TOKENS = 128
NARROW_ENCODER = 512


def learning_rate(situation: PlanningInputs) -> Ruling:
    """By what is trained and how wide it is; earlier runs may have settled it (`history`)."""
    if choose("training.freeze", freeze, situation).value == "encoder":
        return Ruling(
            1e-2,
            "a linear head alone starts from nothing and has nothing to forget",
            "the encoder is frozen",
        )
    hidden = situation.circumstances.hidden_size
    return Ruling(
        1e-4 if hidden < NARROW_ENCODER else 3e-5,
        "a narrow encoder takes, and needs, larger steps than a base-sized one",
        f"the encoder is {hidden} wide",
    )


def epochs(situation: PlanningInputs) -> Ruling:
    """More passes over fewer rows, fewer over long texts."""
    median = situation.dataset.splits["train"].tokens_median
    read = min(median, situation.config.model.max_length)
    if situation.is_small and read > LONG_TEXT_TOKENS:
        return Ruling(
            6,
            f"6 where more than {LONG_TEXT_TOKENS} tokens of a text are read: an epoch then "
            "takes minutes on a CPU",
            f"{situation.said_rows}; {read:.0f} tokens of the median text are read",
        )
    few = 15 if situation.rows < VERY_SMALL_DATA_ROWS else 10
    return Ruling(
        few if situation.is_small else 5,
        "15 below 1,000 rows and 10 below 2,000, where long training is the stable one (Mosbach et "
        "al., 2021), else 5",
        situation.said_rows,
    )


def early_stopping_patience(situation: PlanningInputs) -> Ruling:
    """Val is small and its F1 jumps: some epochs without a rise are no end."""
    return Ruling(
        4,
        "stops when val macro-F1 has not risen for some epochs; the best epoch is kept",
        f"{situation.dataset.splits['val'].rows_kept:,} val rows",
    )


def warmup_fraction(situation: PlanningInputs) -> Ruling:
    """A tenth, whatever the data."""
    return Ruling(
        0.1,
        "a short rise of the learning rate keeps the first steps from undoing the pretraining",
        f"a tenth of the steps (Mosbach et al., 2021); {situation.said_rows}",
    )


def layerwise_decay(situation: PlanningInputs) -> Ruling:
    """Lower layers move less where there is little to move them by."""
    return Ruling(
        0.9 if situation.is_small else 1.0,
        "0.9 below 2,000 rows: lower layers hold what few rows can only spoil (Zhang et al., 2021)",
        situation.said_rows,
    )


def group_by_length(situation: PlanningInputs) -> Ruling:
    """Always: it costs nothing, and padding is computed like text."""
    train = situation.dataset.splits["train"]
    return Ruling(
        True,
        "texts of like length share a batch, so that little of it is padding",
        f"tokens of a training text: median {train.tokens_median:.0f}, 95th percentile "
        f"{train.tokens_p95:.0f}",
    )
