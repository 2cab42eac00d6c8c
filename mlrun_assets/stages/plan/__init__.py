"""Stage ``training_plan``: config, data, machine and earlier runs in; a recipe with reasons out.

    situation     all that a rule may look at
    choosing      how one choice is made: the config wins over the rule
    optimisation  rules: batch size, learning rate, epochs, warm-up, decay
    labels        rules: label smoothing and weights
    encoder       rules: freezing, pooling, trimming, precision
    history       earlier runs: what is known of this plan, of others, of learning rates
    settings      what no rule decides
    advice        what a person could do

A rule is a pure function from a `Situation` to a `Ruling`. A further one is written there and named
in `RULES`, beside its key in the config and its field in `Recipe`.
"""

from __future__ import annotations

import orjson

from mlrun_assets.files import digest_bytes
from mlrun_assets.records import Recipe, TrainingPlan
from mlrun_assets.stages.plan import encoder, labels, optimisation
from mlrun_assets.stages.plan.advice import ADVICE
from mlrun_assets.stages.plan.choosing import Rule, choose
from mlrun_assets.stages.plan.history import rejected_recipes, reusable_run, seen_before
from mlrun_assets.stages.plan.settings import settings, shown_digest
from mlrun_assets.stages.plan.situation import Situation

__all__ = ["ADVICE_TOPICS", "Situation", "plan_training", "recipe_digest"]

ADVICE_TOPICS = tuple(ADVICE)
RULES: dict[str, Rule] = {
    "training.batch_size": optimisation.batch_size,
    "training.learning_rate": optimisation.learning_rate,
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
    ruled = [choose(key, rule, situation) for key, rule in RULES.items()]
    recipe = _recipe(situation, {chosen.field: chosen.value for chosen in ruled})
    digest = recipe_digest(recipe, situation.seeds)
    advice = (advise(situation) for advise in ADVICE.values())
    return TrainingPlan(
        recipe=recipe,
        recipe_digest=digest,
        seeds=situation.seeds,
        choices=tuple(chosen.choice for chosen in (*settings(situation), *ruled)),
        advice=tuple(each for each in advice if each),
        seen_before=seen_before(situation, digest),
        rejected=rejected_recipes(situation),
        reuse=reusable_run(situation, digest),
    )


def recipe_digest(recipe: Recipe, seeds: tuple[int, ...]) -> str:
    """The same for recipes that train the same, with the same seeds."""
    facts = {**recipe.model_dump(), "seed": seeds}
    return digest_bytes(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))


def _recipe(situation: Situation, ruled: dict[str, object]) -> Recipe:
    model, training = situation.config.model, situation.config.training
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
