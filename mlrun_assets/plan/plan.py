"""Stage ``training_plan``: config, data, machine and earlier runs in; a recipe with reasons out.

A new rule is a function in `rules`, an entry in `RULES` and a field of `Recipe`; if the config can
override it, also a config key that accepts ``auto``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import orjson

from mlrun_assets.config import Config
from mlrun_assets.errors import count
from mlrun_assets.files import digest_bytes
from mlrun_assets.plan import rules
from mlrun_assets.plan.choice import (
    ChosenValue,
    PlanningInputs,
    Rule,
    as_yaml,
    best_learning_rate,
    choose,
    configured,
    rejected_recipes,
    reusable_run,
    seen_before,
)
from mlrun_assets.records import Advice, Choice, Recipe, TrainingPlan

RATE = "training.learning_rate"
RULES: dict[str, Rule] = {
    "training.batch_size": rules.batch_size,
    RATE: rules.learning_rate,
    "training.epochs": rules.epochs,
    "training.early_stopping_patience": rules.early_stopping_patience,
    "training.warmup_fraction": rules.warmup_fraction,
    "training.layerwise_decay": rules.layerwise_decay,
    "training.label_smoothing": rules.label_smoothing,
    "training.class_weights": rules.class_weights,
    "training.freeze": rules.freeze,
    "model.pooling": rules.pooling,
    "model.trim_vocabulary": rules.trim_vocabulary,
    "training.bf16": rules.bf16,
    "encoder_digest": rules.encoder_digest,
    "group_by_length": rules.group_by_length,
    "attention_dropout": rules.attention_dropout,
}
"""The rule of every choice that is not simply the config's, by its key in the plan."""


def plan_training(inputs: PlanningInputs) -> TrainingPlan:
    """The recipe for ``inputs``, with a reason for every choice; a pure function.

    Raises:
        ConfigError: a value in the config does not fit the encoder.
    """
    rules.check_frozen_layers(inputs)
    by_rule = {key: choose(key, rule, inputs) for key, rule in RULES.items()}
    # Earlier runs are comparable if all but the learning rate is equal, so it is chosen last.
    so_far = _recipe(inputs, by_rule)
    by_rule[RATE] = choose(
        RATE, lambda given: best_learning_rate(given, so_far) or RULES[RATE](given), inputs
    )
    recipe = _recipe(inputs, by_rule)
    digest = recipe_digest(recipe, inputs.seeds)
    advice = (advise(inputs) for advise in ADVICE.values())
    return TrainingPlan(
        recipe=recipe,
        recipe_digest=digest,
        seeds=inputs.seeds,
        choices=tuple(
            Choice(
                key=key,
                value=as_yaml(chosen.value),
                source=chosen.source,
                reason=chosen.reason,
                evidence=chosen.evidence,
            )
            for key, chosen in {**_without_rule(inputs), **by_rule}.items()
        ),
        advice=tuple(each for each in advice if each),
        seen_before=seen_before(inputs, digest),
        rejected=rejected_recipes(inputs),
        reuse=reusable_run(inputs, digest),
    )


def recipe_digest(recipe: Recipe, seeds: tuple[int, ...]) -> str:
    """A digest that is equal for equal recipes and seeds."""
    facts = {**recipe.model_dump(), "seed": seeds}
    return digest_bytes(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))


def _recipe(inputs: PlanningInputs, by_rule: Mapping[str, ChosenValue]) -> Recipe:
    model, training = inputs.config.model, inputs.config.training
    fields = {key.rpartition(".")[2]: chosen.value for key, chosen in by_rule.items()}
    return Recipe.model_validate(
        {
            **fields,
            "encoder": model.name,
            "revision": model.revision,
            "max_length": model.max_length,
            "ensemble": model.ensemble,
            "pretraining_epochs": training.pretraining_epochs,
            "unlabelled_digest": _unlabelled_digest(inputs),
            "seed": inputs.seeds[0],
            "weight_decay": training.weight_decay,
            "class_weights": rules.weight_per_label(inputs.dataset, fields["class_weights"]),
        }
    )


# Choices without a rule


def _without_rule(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    """The choices that the config or the data decides, by their key."""
    hardware, train = inputs.hardware, inputs.dataset.splits["train"]
    evidence = {
        "model.name": f"{hardware.layers} layers, {hardware.hidden_size} wide, "
        f"{hardware.vocabulary:,} pieces",
        "model.revision": "only a hub id has revisions",
        "model.max_length": f"{train.truncated_fraction:.1%} of the training texts are longer; "
        f"their 95th percentile is {train.tokens_p95:.0f} tokens",
        "model.ensemble": "val selects the n-gram model and the two weights of the ensemble",
        "training.pretraining_epochs": _pretraining_evidence(inputs),
    }
    several = "the model that is best on val is kept" if len(inputs.seeds) > 1 else "one model"
    return {
        **{key: _as_configured(key, inputs, sentence) for key, sentence in evidence.items()},
        "unlabelled_digest": ChosenValue(
            _unlabelled_digest(inputs),
            "an earlier run can be reused only if the unlabelled texts are the same",
            _unlabelled_evidence(inputs),
        ),
        "training.seeds": ChosenValue(
            inputs.seeds,
            _reason(inputs.seeds, (configured(Config(), "training.seed"),)),
            several,
            source="config",
        ),
        "training.weight_decay": _as_configured(
            "training.weight_decay", inputs, "biases and norms are not decayed"
        ),
    }


def _as_configured(key: str, inputs: PlanningInputs, evidence: str) -> ChosenValue:
    value = configured(inputs.config, key)
    return ChosenValue(value, _reason(value, configured(Config(), key)), evidence, source="config")


def _reason(value: object, default: object) -> str:
    return "the default" if value == default else "set in the config"


def _unlabelled_digest(inputs: PlanningInputs) -> str | None:
    """The digest of the unlabelled texts that pretraining reads; None if it reads none."""
    unlabelled = inputs.dataset.unlabelled
    pretrains = inputs.config.training.pretraining_epochs > 0
    return unlabelled.digest[: rules.DIGEST_SHOWN] if unlabelled and pretrains else None


def _pretraining_evidence(inputs: PlanningInputs) -> str:
    unlabelled = inputs.dataset.unlabelled
    if not inputs.config.training.pretraining_epochs:
        return f"not shown to help: +1.9 macro-F1 [-1.4, +5.0] on 417 Somali rows ({TECHNIQUES})"
    others = "no other text"
    if unlabelled:
        others = f"{count(unlabelled.rows_kept, 'text')} without labels"
    return f"reads {inputs.rows_evidence} and {others}"


def _unlabelled_evidence(inputs: PlanningInputs) -> str:
    unlabelled = inputs.dataset.unlabelled
    if unlabelled is None:
        return "data.unlabelled_path is not set"
    pretrains = inputs.config.training.pretraining_epochs > 0
    unread = "" if pretrains else ", and no pretraining reads them"
    return count(unlabelled.rows_kept, "text") + unread


# Advice: changes that no rule makes

RARE_LABEL_ROWS = 50
LENGTH_STEP = 32
TECHNIQUES = "docs/decisions/008-techniques.md"
HEADLINES = frozenset({"headline", "head", "title", "subject", "heading"})


def several_seeds(inputs: PlanningInputs) -> Advice | None:
    """Train several seeds on small data."""
    if not inputs.is_small or len(inputs.seeds) > 1:
        return None
    return Advice(
        topic="seed",
        issue="Only one seed was trained on a small training split",
        sentence=f"One seed on {inputs.rows:,} rows: another seed gives other scores (on two "
        "Somali corpora the test macro-F1 of three seeds had a standard deviation of 2.1 and 3.8 "
        f"points: {TECHNIQUES}). Train several, such as training.seeds: [13, 42, 87], before you "
        "trust a small difference.",
    )


def rare_label(inputs: PlanningInputs) -> Advice | None:
    """Add rows in a related or a large language for a rare label."""
    rarest = inputs.rarest_label_rows
    if rarest >= RARE_LABEL_ROWS:
        return None
    rows = count(rarest, "training row") if rarest else "no training row"
    unlearnable = " One row can't be learned from: label more." if rarest == 1 else ""
    return Advice(
        topic="rare_label",
        issue=f"The rarest label has fewer than {RARE_LABEL_ROWS} training rows",
        sentence=f"The rarest label has {rows}.{unlearnable} Below {RARE_LABEL_ROWS}, rows of the "
        "same labels in a related or a large language may help. We have not measured this: "
        "compare runs with and without these rows.",
    )


def truncation(inputs: PlanningInputs) -> Advice | None:
    """Put the headline first, or read more tokens, if many texts are cut."""
    train = inputs.dataset.splits["train"]
    if not train.truncated_fraction > inputs.config.data.quality.max_truncated_fraction:
        return None
    length = inputs.config.model.max_length
    sentence = (
        f"{train.truncated_fraction:.0%} of the training texts are longer than model.max_length, "
        f"{length} tokens (median {train.tokens_median:.0f}, 95th percentile "
        f"{train.tokens_p95:.0f}, longest {train.tokens_max:,}). {_headline(inputs)}"
        f"{_longer(inputs)}"
    )
    return Advice(
        topic="truncation",
        issue="Many training texts are longer than model.max_length",
        sentence=sentence,
    )


def _headline(inputs: PlanningInputs) -> str:
    columns = inputs.config.data.text_columns
    if columns[0].casefold() in HEADLINES:
        return ""
    later = [column for column in columns if column.casefold() in HEADLINES]
    if later:
        return f"Put {later[0]} first in data.text_columns: the end of a long text is cut off. "
    return "If the rows have a headline, put its column first in data.text_columns. "


def _longer(inputs: PlanningInputs) -> str:
    length, positions = inputs.config.model.max_length, inputs.hardware.positions
    wanted = math.ceil(inputs.dataset.splits["train"].tokens_p95 / LENGTH_STEP) * LENGTH_STEP
    enough = max(wanted, length + LENGTH_STEP)
    if positions is None or enough <= positions:
        return (
            f"With model.max_length {enough} at most 5% of the texts are cut; training is slower."
        )
    if positions > length:
        return f"model.max_length can be {positions} at most with this encoder."
    return "The encoder can't read more tokens."


def ensemble(inputs: PlanningInputs) -> Advice | None:
    """Combine the encoder with n-grams on small data, where they make different errors."""
    if not inputs.is_small or inputs.config.model.ensemble:
        return None
    return Advice(
        topic="ensemble",
        issue="The encoder is not combined with the n-gram model on a small training split",
        sentence=f"With {inputs.rows:,} training rows model.ensemble: true may help. The gain is "
        "not shown when all layers are trained: +2.5 macro-F1 [-1.1, +5.9] on 417 Somali "
        f"rows ({TECHNIQUES}). The model is then served with trust_remote_code=True.",
    )


ADVICE = {
    "seed": several_seeds,
    "rare_label": rare_label,
    "truncation": truncation,
    "ensemble": ensemble,
}
ADVICE_TOPICS = tuple(ADVICE)
