"""Rules about how the weights are optimised, and for how long.

Mosbach et al. (2021), "On the Stability of Fine-tuning BERT", is behind most of what is done below
2,000 rows: many small steps, a warm-up, bias-corrected AdamW.
"""

from __future__ import annotations

from mlrun_assets.stages.plan.choosing import Ruling, choose
from mlrun_assets.stages.plan.encoder import freeze
from mlrun_assets.stages.plan.situation import Situation

VERY_SMALL_DATA_ROWS = 1_000
LONG_TEXT_TOKENS = 128
NARROW_ENCODER = 512


def learning_rate(situation: Situation) -> Ruling:
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


def epochs(situation: Situation) -> Ruling:
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


def early_stopping_patience(situation: Situation) -> Ruling:
    """Val is small and its F1 jumps: some epochs without a rise are no end."""
    return Ruling(
        4,
        "stops when val macro-F1 has not risen for some epochs; the best epoch is kept",
        f"{situation.dataset.splits['val'].rows_kept:,} val rows",
    )


def warmup_fraction(situation: Situation) -> Ruling:
    """A tenth, whatever the data."""
    return Ruling(
        0.1,
        "a short rise of the learning rate keeps the first steps from undoing the pretraining",
        f"a tenth of the steps (Mosbach et al., 2021); {situation.said_rows}",
    )


def layerwise_decay(situation: Situation) -> Ruling:
    """Lower layers move less where there is little to move them by."""
    return Ruling(
        0.9 if situation.is_small else 1.0,
        "0.9 below 2,000 rows: lower layers hold what few rows can only spoil (Zhang et al., 2021)",
        situation.said_rows,
    )


def group_by_length(situation: Situation) -> Ruling:
    """Always: it costs nothing, and padding is computed like text."""
    train = situation.dataset.splits["train"]
    return Ruling(
        True,
        "texts of like length share a batch, so that little of it is padding",
        f"tokens of a training text: median {train.tokens_median:.0f}, 95th percentile "
        f"{train.tokens_p95:.0f}",
    )
