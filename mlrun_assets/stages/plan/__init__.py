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

A rule is a pure function from a `Situation` to a `Ruling`. A further one is written there and named
in `RULES`, beside its key in the config and its field in `Recipe`.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from mlrun_assets.files import digest_bytes
from mlrun_assets.records import Recipe, TrainingPlan
from mlrun_assets.stages.plan import batch, encoder, labels, optimisation
from mlrun_assets.stages.plan.advice import ADVICE
from mlrun_assets.stages.plan.choosing import Chosen, Rule, choose
from mlrun_assets.stages.plan.history import (
    best_learning_rate,
    rejected_recipes,
    reusable_run,
    seen_before,
)
from mlrun_assets.stages.plan.settings import settings, shown_digest
from mlrun_assets.stages.plan.situation import Situation

__all__ = ["ADVICE_TOPICS", "Situation", "plan_training", "recipe_digest"]

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


def plan_training(situation: Situation) -> TrainingPlan:
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


def _recipe(situation: Situation, chosen: Iterable[Chosen]) -> Recipe:
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
