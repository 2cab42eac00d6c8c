"""What training can't settle and a person could.

A figure is given with the decision note that has it, and with the language that it was measured on.
An effect whose interval spans zero is said not to be shown; one without a figure in the notes is
said not to be measured.
"""

from __future__ import annotations

import math

from mlrun_assets.records import Advice
from mlrun_assets.stages.plan.situation import Situation

RARE_LABEL_ROWS = 50
LENGTH_STEP = 32
TECHNIQUES = "docs/decisions/008-techniques.md"
HEADLINES = frozenset({"headline", "head", "title", "subject", "heading"})


def several_seeds(situation: Situation) -> Advice | None:
    """One seed on small data tells little."""
    if not situation.is_small or len(situation.seeds) > 1:
        return None
    return Advice(
        topic="seed",
        issue="Only one seed was trained on a small training split",
        sentence=f"One seed on {situation.rows:,} rows: another seed gives other scores (on two "
        "Somali corpora the test macro-F1 of three seeds had a standard deviation of 2.1 and 3.8 "
        f"points: {TECHNIQUES}). Train several, such as training.seeds: [13, 42, 87], before you "
        "trust a small difference.",
    )


def rare_label(situation: Situation) -> Advice | None:
    """Rows of the same labels in a related or a large language may help where there are few."""
    fewest = situation.fewest
    if fewest >= RARE_LABEL_ROWS:
        return None
    rows = "no training row" if fewest == 0 else f"{fewest} training row{'s' * (fewest > 1)}"
    unlearnable = " One row can't be learned from: label more." if fewest == 1 else ""
    return Advice(
        topic="rare_label",
        issue=f"The rarest label has fewer than {RARE_LABEL_ROWS} training rows",
        sentence=f"The rarest label has {rows}.{unlearnable} Below {RARE_LABEL_ROWS}, rows of the "
        "same labels in a related or a large language may help. That was not measured with this "
        "training: compare runs with and without them.",
    )


def truncation(situation: Situation) -> Advice | None:
    """What is cut off is not read: what matters comes first, or more is read."""
    train = situation.dataset.splits["train"]
    if not train.truncated_fraction > situation.config.data.quality.max_truncated_fraction:
        return None
    length = situation.config.model.max_length
    sentence = (
        f"{train.truncated_fraction:.0%} of the training texts are longer than model.max_length, "
        f"{length} tokens (median {train.tokens_median:.0f}, 95th percentile "
        f"{train.tokens_p95:.0f}, longest {train.tokens_max:,}). {_headline(situation)}"
        f"{_longer(situation)}"
    )
    return Advice(
        topic="truncation",
        issue="Many training texts are longer than model.max_length",
        sentence=sentence,
    )


def _headline(situation: Situation) -> str:
    columns = situation.config.data.text_columns
    if columns[0].casefold() in HEADLINES:
        return ""
    later = [column for column in columns if column.casefold() in HEADLINES]
    if later:
        return f"Put {later[0]} first in data.text_columns: the end is what is cut off. "
    return "If the rows have a headline, put its column first in data.text_columns. "


def _longer(situation: Situation) -> str:
    length, positions = situation.config.model.max_length, situation.circumstances.positions
    wanted = math.ceil(situation.dataset.splits["train"].tokens_p95 / LENGTH_STEP) * LENGTH_STEP
    enough = max(wanted, length + LENGTH_STEP)
    if positions is None or enough <= positions:
        return f"With model.max_length {enough} hardly one text in twenty is cut; it takes longer."
    if positions > length:
        return f"model.max_length can be {positions} at most with this encoder."
    return "The encoder reads no more than that."


def ensemble(situation: Situation) -> Advice | None:
    """On small data an encoder and n-grams err differently (`TECHNIQUES`)."""
    if not situation.is_small or situation.config.model.ensemble:
        return None
    return Advice(
        topic="ensemble",
        issue="The encoder is not mixed with the n-gram model on a small training split",
        sentence=f"With {situation.rows:,} training rows model.ensemble: true may help. With all "
        "layers trained this is not shown: +2.5 macro-F1 [-1.1, +5.9] on 417 Somali rows "
        f"({TECHNIQUES}). The model is then served with trust_remote_code=True.",
    )


ADVICE = {
    "seed": several_seeds,
    "rare_label": rare_label,
    "truncation": truncation,
    "ensemble": ensemble,
}
