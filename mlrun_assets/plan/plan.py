"""Stage ``training_plan``: config, data, machine and earlier runs in; a recipe with reasons out.

    situation     all that a rule may look at
    choosing      how one choice is made: the config wins over the rule
    batch         rule: batch size
    optimisation  rules: learning rate, epochs, warm-up, decay
    labels        rules: label smoothing and weights
    encoder       rules: freezing, pooling, trimming, precision
    history       earlier runs: what is known of this plan, of others, of learning rates
    settings      what no rule decides
    advice        what a person could do

A rule is a pure function from `PlanningInputs` to a `Ruling`. A further one is written there and
named
in `RULES`, beside its key in the config and its field in `Recipe`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import orjson

from mlrun_assets.config import Config
from mlrun_assets.files import digest_bytes
from mlrun_assets.plan import rules as batch
from mlrun_assets.plan import rules as encoder
from mlrun_assets.plan import rules as labels
from mlrun_assets.plan import rules as optimisation
from mlrun_assets.plan.choice import (
    Chosen,
    PlanningInputs,
    Rule,
    best_learning_rate,
    choose,
    configured,
    rejected_recipes,
    reusable_run,
    seen_before,
)
from mlrun_assets.plan.rules import DIGEST_SHOWN
from mlrun_assets.records import Advice, Recipe, TrainingPlan

RARE_LABEL_ROWS = 50
LENGTH_STEP = 32
TECHNIQUES = "docs/decisions/008-techniques.md"
HEADLINES = frozenset({"headline", "head", "title", "subject", "heading"})


def several_seeds(situation: PlanningInputs) -> Advice | None:
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


def rare_label(situation: PlanningInputs) -> Advice | None:
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


def truncation(situation: PlanningInputs) -> Advice | None:
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


def _headline(situation: PlanningInputs) -> str:
    columns = situation.config.data.text_columns
    if columns[0].casefold() in HEADLINES:
        return ""
    later = [column for column in columns if column.casefold() in HEADLINES]
    if later:
        return f"Put {later[0]} first in data.text_columns: the end is what is cut off. "
    return "If the rows have a headline, put its column first in data.text_columns. "


def _longer(situation: PlanningInputs) -> str:
    length, positions = situation.config.model.max_length, situation.circumstances.positions
    wanted = math.ceil(situation.dataset.splits["train"].tokens_p95 / LENGTH_STEP) * LENGTH_STEP
    enough = max(wanted, length + LENGTH_STEP)
    if positions is None or enough <= positions:
        return f"With model.max_length {enough} hardly one text in twenty is cut; it takes longer."
    if positions > length:
        return f"model.max_length can be {positions} at most with this encoder."
    return "The encoder reads no more than that."


def ensemble(situation: PlanningInputs) -> Advice | None:
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


def settings(situation: PlanningInputs) -> tuple[Chosen, ...]:
    """The encoder, the length, the ensemble, the pretraining, the seeds and the weight decay."""
    circumstances, train = situation.circumstances, situation.dataset.splits["train"]
    encoder = (
        f"{circumstances.layers} layers, {circumstances.hidden_size} wide, "
        f"{circumstances.vocabulary:,} pieces"
    )
    several = "the model that is best on val is kept" if len(situation.seeds) > 1 else "one model"
    return (
        _as_configured("model.name", situation, encoder),
        _as_configured("model.revision", situation, "only a hub id has revisions"),
        _as_configured(
            "model.max_length",
            situation,
            f"{train.truncated_fraction:.1%} of the training texts are longer; their 95th "
            f"percentile is {train.tokens_p95:.0f} tokens",
        ),
        _as_configured(
            "model.ensemble", situation, "the n-gram model and the weights of both are set on val"
        ),
        _as_configured("training.pretraining_epochs", situation, _read_by_pretraining(situation)),
        _unlabelled_digest(situation),
        _seeds(situation, several),
        _as_configured("training.weight_decay", situation, "biases and norms are not decayed"),
    )


def shown_digest(situation: PlanningInputs) -> str | None:
    """Which texts without labels pretraining reads; None: none."""
    unlabelled = situation.dataset.unlabelled
    reads = situation.config.training.pretraining_epochs > 0
    return unlabelled.digest[:DIGEST_SHOWN] if unlabelled and reads else None


def _as_configured(key: str, situation: PlanningInputs, evidence: str) -> Chosen:
    value = configured(situation.config, key)
    return Chosen(key, value, "config", _reason(value, configured(Config(), key)), evidence)


def _read_by_pretraining(situation: PlanningInputs) -> str:
    unlabelled = situation.dataset.unlabelled
    if not situation.config.training.pretraining_epochs:
        return f"not shown to help: +1.9 macro-F1 [-1.4, +5.0] on 417 Somali rows ({TECHNIQUES})"
    others = f"{unlabelled.rows_kept:,} texts without labels" if unlabelled else "no other text"
    return f"reads {situation.said_rows} and {others}"


def _unlabelled_digest(situation: PlanningInputs) -> Chosen:
    return Chosen(
        "unlabelled_digest",
        shown_digest(situation),
        "rule",
        "an earlier run counts as the same only with the same texts without labels",
        _known(situation),
    )


def _known(situation: PlanningInputs) -> str:
    unlabelled = situation.dataset.unlabelled
    if unlabelled is None:
        return "data.unlabelled_path is not set"
    reads = situation.config.training.pretraining_epochs > 0
    return f"{unlabelled.rows_kept:,} texts" + ("" if reads else ", and no pretraining reads them")


def _seeds(situation: PlanningInputs, evidence: str) -> Chosen:
    reason = _reason(situation.seeds, (configured(Config(), "training.seed"),))
    return Chosen("training.seeds", situation.seeds, "config", reason, evidence)


def _reason(value: object, default: object) -> str:
    return "the default" if value == default else "set in the config"


ADVICE_TOPICS = tuple(ADVICE)
RATE = "training.learning_rate"
RULES: dict[str, Rule] = {
    "training.batch_size": batch.batch_size,
    RATE: optimisation.learning_rate,
    "training.epochs": optimisation.epochs,
    "training.early_stopping_patience": optimisation.early_stopping_patience,
    "training.warmup_fraction": optimisation.warmup_fraction,
    "training.layerwise_decay": optimisation.layerwise_decay,
    "training.label_smoothing": labels.label_smoothing,
    "training.class_weights": labels.class_weights,
    "training.freeze": encoder.freeze,
    "model.pooling": encoder.pooling,
    "model.trim_vocabulary": encoder.trim_vocabulary,
    "training.bf16": encoder.bf16,
    "encoder_digest": encoder.encoder_digest,
    "group_by_length": optimisation.group_by_length,
    "attention_dropout": encoder.attention_dropout,
}


def plan_training(situation: PlanningInputs) -> TrainingPlan:
    """The recipe for ``situation``, with a reason for each choice; a pure function.

    Raises:
        ConfigError: a value in the config does not fit the encoder.
    """
    encoder.check_frozen_layers(situation)
    ruled = {key: choose(key, rule, situation) for key, rule in RULES.items()}
    # All else is settled by now: which rate was the best of the same recipe can be asked.
    by_rule = _recipe(situation, ruled.values())
    ruled[RATE] = choose(
        RATE,
        lambda found: best_learning_rate(found, by_rule) or RULES[RATE](found),
        situation,
    )
    recipe = _recipe(situation, ruled.values())
    digest = recipe_digest(recipe, situation.seeds)
    advice = (advise(situation) for advise in ADVICE.values())
    return TrainingPlan(
        recipe=recipe,
        recipe_digest=digest,
        seeds=situation.seeds,
        choices=tuple(chosen.choice for chosen in (*settings(situation), *ruled.values())),
        advice=tuple(each for each in advice if each),
        seen_before=seen_before(situation, digest),
        rejected=rejected_recipes(situation),
        reuse=reusable_run(situation, digest),
    )


def recipe_digest(recipe: Recipe, seeds: tuple[int, ...]) -> str:
    """The same for recipes that train the same, with the same seeds."""
    facts = {**recipe.model_dump(), "seed": seeds}
    return digest_bytes(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))


def _recipe(situation: PlanningInputs, chosen: Iterable[Chosen]) -> Recipe:
    model, training = situation.config.model, situation.config.training
    ruled = {each.field: each.value for each in chosen}
    return Recipe.model_validate(
        {
            **ruled,
            "encoder": model.name,
            "revision": model.revision,
            "max_length": model.max_length,
            "ensemble": model.ensemble,
            "pretraining_epochs": training.pretraining_epochs,
            "unlabelled_digest": shown_digest(situation),
            "seed": situation.seeds[0],
            "weight_decay": training.weight_decay,
            "class_weights": labels.label_weights(situation.dataset, ruled["class_weights"]),
        }
    )
