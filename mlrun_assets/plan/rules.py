"""The rules: from the `PlanningInputs` to a `ChosenValue` for every choice, by section."""

from __future__ import annotations

from mlrun_assets.encoders.loading import POOLED_TYPES
from mlrun_assets.encoders.trimming import VOCABULARY_BUDGET
from mlrun_assets.errors import ConfigError, count, listed
from mlrun_assets.plan.choice import SMALL_DATA_ROWS, ChosenValue, PlanningInputs, choose
from mlrun_assets.records import SHORT_TEXT_TOKENS, DatasetRecord, Recipe


def apply_rules(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    """What the rules give for every choice that is not simply the config's, by its key."""
    return {**_schedule(inputs), **_labels(inputs), **_encoder(inputs)}


# Schedule

SMALL_BATCH = 16
VERY_SMALL_DATA_ROWS = 1_000
LONG_TEXT_TOKENS = 128
NARROW_ENCODER = 512


def _schedule(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    return {
        # Small batches for small data, so that an epoch has enough steps.
        "training.batch_size": ChosenValue(
            _batch_size(inputs),
            "16 below 2,000 rows, which need many steps (Mosbach et al., 2021), else 32",
            inputs.rows_evidence,
        ),
        "training.learning_rate": _learning_rate(inputs),
        "training.epochs": _epochs(inputs),
        "training.short_epochs": _short_epochs(inputs),
        "training.warmup_fraction": ChosenValue(
            0.1,
            "a short warm-up protects the pretrained weights in the first steps",
            f"a tenth of the steps (Mosbach et al., 2021); {inputs.rows_evidence}",
        ),
        "training.layerwise_decay": ChosenValue(
            0.9 if inputs.is_small else 1.0,
            "0.9 below 2,000 rows: a lower learning rate protects the pretrained lower layers "
            "(Zhang et al., 2021)",
            inputs.rows_evidence,
        ),
    }


def _batch_size(inputs: PlanningInputs) -> int:
    rows = SMALL_BATCH if inputs.is_small else 2 * SMALL_BATCH
    workers = inputs.config.training.num_workers
    return -(-rows // workers) * workers  # every worker gets the same number of rows


def _learning_rate(inputs: PlanningInputs) -> ChosenValue:
    """By the trained part and the encoder's width; `best_learning_rate` may replace it."""
    if choose("training.freeze", _freeze(inputs), inputs).value == "encoder":
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


def _epochs(inputs: PlanningInputs) -> ChosenValue:
    """More passes over fewer rows, fewer over long texts and on a smaller budget."""
    budget = inputs.config.training.budget
    if inputs.is_small and budget != "best":
        return ChosenValue(
            6,
            "6 below 2,000 rows, so that a run takes minutes; training.budget: best trains longer",
            f"training.budget is {budget}; {inputs.rows_evidence}",
        )
    if inputs.is_small and inputs.tokens_read > LONG_TEXT_TOKENS:
        return ChosenValue(
            6,
            f"6 where more than {LONG_TEXT_TOKENS} tokens of a text are read: an epoch then "
            "takes minutes on a CPU",
            f"{inputs.rows_evidence}; {_tokens_evidence(inputs)}",
        )
    few = 15 if inputs.rows < VERY_SMALL_DATA_ROWS else 10
    return ChosenValue(
        few if inputs.is_small else 5,
        "15 below 1,000 rows and 10 below 2,000, where long training is the stable one (Mosbach et "
        "al., 2021), else 5",
        inputs.rows_evidence,
    )


def _short_epochs(inputs: PlanningInputs) -> ChosenValue:
    """Two thirds of the epochs over the beginnings of long texts."""
    epochs = choose("training.epochs", _epochs(inputs), inputs).value
    long = inputs.tokens_read > LONG_TEXT_TOKENS
    return ChosenValue(
        2 * int(str(epochs)) // 3 if long else 0,
        f"where more than {LONG_TEXT_TOKENS} tokens of the median text are read, two thirds of the "
        f"epochs read only the first {SHORT_TEXT_TOKENS}: faster, and not shown to be worse "
        f"({LADDER_NOTE})",
        _tokens_evidence(inputs),
    )


def check_short_epochs(recipe: Recipe) -> None:
    """Check that no more epochs are short than there are.

    Raises:
        ConfigError: the config sets more.
    """
    if recipe.short_epochs > recipe.epochs:
        raise ConfigError(
            f"training.short_epochs is {recipe.short_epochs}, and there are {recipe.epochs} epochs "
            f"(training.epochs): set it to {recipe.epochs} or less, or to auto"
        )


def _tokens_evidence(inputs: PlanningInputs) -> str:
    return f"{inputs.tokens_read:.0f} tokens of the median text are read"


# Labels: label smoothing and class weights

# Training rows of the largest label per row of the smallest.
BALANCED_FROM, SQRT_FROM = 3.0, 10.0
MAX_SQRT_WEIGHT = 5.0


def _labels(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    imbalance = inputs.dataset.imbalance
    kind = "balanced" if imbalance >= BALANCED_FROM else "none"
    return {
        "training.label_smoothing": ChosenValue(
            0.1 if inputs.is_small else 0.0,
            "0.1 below 2,000 rows: models trained on few rows are overconfident",
            inputs.rows_evidence,
        ),
        "training.class_weights": ChosenValue(
            "sqrt" if imbalance >= SQRT_FROM else kind,
            "imbalance of 3 or more: weights are inverse frequencies; 10 or more: their square "
            "roots",
            f"the largest label has {imbalance:.1f} times the rows of the smallest",
        ),
    }


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


def _encoder(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    hardware, train = inputs.hardware, inputs.dataset.splits["train"]
    name, by_mean = inputs.config.model.name, hardware.trained_by_mean
    return {
        "model.candidates": _candidates(inputs),
        "training.freeze": _freeze(inputs),
        "model.pooling": ChosenValue(
            "mean" if by_mean else "first",
            "the pooling that the encoder was pretrained with",
            f"{name} was trained on the {'mean' if by_mean else 'first token'}",
        ),
        "model.trim_vocabulary": _trim_vocabulary(inputs),
        "training.bf16": ChosenValue(
            hardware.bf16_speedup >= WORTHWHILE_BF16_SPEEDUP,
            f"bfloat16 where this machine multiplies it {WORTHWHILE_BF16_SPEEDUP} times as fast as "
            "float32",
            f"a matrix product in bfloat16 is {hardware.bf16_speedup:.1f} times as fast as in "
            "float32",
        ),
        # The files in a directory or a branch of the hub can change.
        "encoder_digest": ChosenValue(
            hardware.encoder_digest[:DIGEST_SHOWN],
            "an earlier run can be reused only if the encoder files are the same",
            name,
        ),
        # It costs nothing, and padding takes as long as text.
        "group_by_length": ChosenValue(
            True,
            "texts of similar length share a batch, so that little of it is padding",
            f"tokens of a training text: median {train.tokens_median:.0f}, 95th percentile "
            f"{train.tokens_p95:.0f}",
        ),
        "attention_dropout": ChosenValue(
            hardware.accelerator is not None,
            "off on a CPU: drawing the mask takes longer than the attention; dropout of the hidden "
            "states stays on",
            hardware.accelerator or "no accelerator",
        ),
    }


FAST_LADDER = ("ngrams", "frozen+ngrams")
FROZEN = {"frozen", "helped"}  # parts that need pooled states
LADDER_NOTE = "docs/decisions/020-candidates.md"


def _candidates(inputs: PlanningInputs) -> ChosenValue:
    """What the budget allows, without fine-tuning where it is not expected to help."""
    budget, rarest = inputs.config.training.budget, inputs.rarest_label_rows
    evidence = f"training.budget is {budget}; the rarest label has {count(rarest, 'training row')}"
    reason = f"the cheapest first; the best of them is chosen ({LADDER_NOTE})"
    fine_tuned = False
    if budget == "fast":
        reason = "fast leaves out fine-tuning"
    elif rarest < HEAD_ONLY_ROWS:
        reason = f"below {HEAD_ONLY_ROWS} rows of a label, fine-tuning is not worth its time"
    elif (
        budget == "balanced"
        and inputs.hardware.trained_by_mean
        and inputs.is_small
        and inputs.tokens_read <= LONG_TEXT_TOKENS
    ):
        reason = (
            f"below {SMALL_DATA_ROWS:,} rows of at most {LONG_TEXT_TOKENS} tokens, fine-tuning did "
            f"not make this encoder better ({LADDER_NOTE}); training.budget: best tries it"
        )
        evidence = (
            f"training.budget is balanced; {inputs.rows_evidence}; {_tokens_evidence(inputs)}"
        )
    else:
        fine_tuned = True
    ladder: tuple[str, ...] = FAST_LADDER
    if inputs.dataset.auxiliary:
        ladder += ("helped+ngrams",)
    if fine_tuned:
        ladder += ("encoder+ngrams",)
    if not inputs.hardware.can_freeze:
        ladder = tuple(name for name in ladder if not FROZEN & {*name.split("+")})
        evidence += "; the states of this type of encoder can't be pooled"
    return ChosenValue(ladder, reason, evidence)


def check_candidates(inputs: PlanningInputs) -> None:
    """Check that the encoder can be the candidates that ``model.candidates`` names.

    Raises:
        ConfigError: a candidate needs the pooled states of the encoder, and its type has none.
    """
    named = inputs.config.model.candidates
    frozen = [name for name in named if FROZEN & {*name.split("+")}] if named != "auto" else []
    if frozen and not inputs.hardware.can_freeze:
        raise ConfigError(
            f"model.candidates has {listed(frozen)}, and the states of {inputs.config.model.name} "
            "can't be pooled: this works for encoders of the types "
            f"{listed(sorted(POOLED_TYPES))}. Take out these candidates, or set them to auto"
        )


def _freeze(inputs: PlanningInputs) -> ChosenValue:
    """The encoder if a label is rare; the embeddings if memory is short."""
    rarest = f"the rarest label has {count(inputs.rarest_label_rows, 'training row')}"
    if inputs.rarest_label_rows < HEAD_ONLY_ROWS:
        return ChosenValue(
            "encoder",
            f"below {HEAD_ONLY_ROWS} rows of a label a linear head on the frozen encoder is the "
            "safer model",
            rarest,
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
        f"{rarest}; about {needed:.1f} of {available:.1f} GB are needed",
    )


def needed_memory_gb(inputs: PlanningInputs) -> float:
    """Approximate memory in GB (2**30 bytes) to train the whole encoder on this machine.

    Every worker holds all weights and its part of a batch of texts of ``model.max_length`` tokens.
    A layer has 12 times its squared width in parameters: four matrices in the attention, two of
    four times the width in the feed-forward network.
    """
    hardware, training = inputs.hardware, inputs.config.training
    pieces = hardware.vocabulary
    if choose("model.trim_vocabulary", _trim_vocabulary(inputs), inputs).value:
        pieces = min(pieces, VOCABULARY_BUDGET)
    hidden = hardware.hidden_size
    parameters = pieces * hidden + hardware.layers * 12 * hidden**2
    rows = _batch_size(inputs) if training.batch_size == "auto" else training.batch_size
    tokens = rows * inputs.config.model.max_length
    activations = tokens * hidden * hardware.layers * ACTIVATION_BYTES / 2**30
    process = parameters * BYTES_PER_TRAINED_PARAMETER / 2**30 + PROCESS_GB
    if hardware.accelerator is None and training.ray_address is None:
        return process * training.num_workers + activations
    return process + activations / training.num_workers


def _trim_vocabulary(inputs: PlanningInputs) -> ChosenValue:
    hardware = inputs.hardware
    on_cpu, can_trim = hardware.accelerator is None, hardware.untrimmable is None
    evidence = f"{hardware.vocabulary:,} pieces, {hardware.accelerator or 'no accelerator'}"
    return ChosenValue(
        on_cpu and can_trim and hardware.vocabulary > LARGE_VOCABULARY,
        f"on if training is on a CPU and the vocabulary has over {LARGE_VOCABULARY:,} pieces: "
        "unused pieces cost time and memory",
        evidence if can_trim else f"{evidence}; {hardware.untrimmable}",
    )


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
