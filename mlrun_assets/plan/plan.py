"""Stage ``training_plan``: config, data, machine and earlier runs in; a recipe with reasons out.

A new rule is an entry in `rules` and a field of `Recipe`; if the config can override it, also a
config key that accepts ``auto``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter

import orjson

from mlrun_assets.config import Config
from mlrun_assets.errors import count, percent
from mlrun_assets.files import digest_bytes
from mlrun_assets.plan import rules
from mlrun_assets.plan.choice import (
    MOST_LISTED,
    ChosenValue,
    PlanningInputs,
    as_yaml,
    best_learning_rate,
    choose,
    rejected_recipes,
    reusable_run,
    same_runs,
)
from mlrun_assets.records import Advice, Choice, Recipe, TrainingPlan

RATE, CANDIDATES = "training.learning_rate", "model.candidates"


def plan_training(inputs: PlanningInputs) -> TrainingPlan:
    """The recipe for ``inputs``, with a reason for every choice; a pure function.

    Raises:
        ConfigError: a value in the config does not fit the encoder.
    """
    rules.check_frozen_layers(inputs)
    rules.check_candidates(inputs)
    choices = _without_rule(inputs)
    choices |= {key: choose(key, each, inputs) for key, each in rules.apply_rules(inputs).items()}
    # Earlier runs are comparable if all but the learning rate is equal, so it is chosen last.
    if best := best_learning_rate(inputs, _recipe(inputs, choices)):
        choices[RATE] = choose(RATE, best, inputs)
    recipe = _recipe(inputs, choices)
    rules.check_short_epochs(recipe)
    if inputs.config.training.budget == "fast" and recipe.needs("encoder"):
        reason = "set in the config; these candidates are fine-tuned although the budget is fast"
        choices[CANDIDATES] = replace(choices[CANDIDATES], reason=reason)
    facts = {**recipe.model_dump(), "seed": inputs.seeds}
    digest = digest_bytes(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))
    same = same_runs(inputs, digest)
    return TrainingPlan(
        recipe=recipe,
        recipe_digest=digest,
        seeds=inputs.seeds,
        choices=tuple(
            Choice(key=key, **{**vars(chosen), "value": as_yaml(chosen.value)})
            for key, chosen in choices.items()
        ),
        advice=_advice(inputs, recipe),
        seen_before=tuple(
            f"{run.report}: the same recipe on the same data gave {run.summary or 'no metrics'}"
            for run in same[:MOST_LISTED]
        ),
        rejected=rejected_recipes(inputs),
        reuse=reusable_run(inputs, same),
    )


def _recipe(inputs: PlanningInputs, choices: Mapping[str, ChosenValue]) -> Recipe:
    fields = {key.rpartition(".")[2]: chosen.value for key, chosen in choices.items()}
    weights = rules.weight_per_label(inputs.dataset, fields["class_weights"])
    fields |= {"encoder": fields.pop("name"), "seed": inputs.seeds[0], "class_weights": weights}
    del fields["seeds"]
    return Recipe.model_validate(fields)


# Choices without a rule

TECHNIQUES = "docs/decisions/008-techniques.md"


def _without_rule(inputs: PlanningInputs) -> dict[str, ChosenValue]:
    """The choices that the config or the data decides, by their key."""
    hardware, train = inputs.hardware, inputs.dataset.splits["train"]
    longer = percent(train.truncated_fraction)
    evidence = {
        "model.name": f"{hardware.layers} layers, {hardware.hidden_size} wide, "
        f"{hardware.vocabulary:,} pieces",
        "model.revision": "only a hub id has revisions",
        "model.max_length": f"{longer} of the training texts are longer; "
        f"their 95th percentile is {train.tokens_p95:.0f} tokens",
    }
    default_seeds = (Config().training.seed,)
    return {
        **{key: _as_configured(key, inputs, sentence) for key, sentence in evidence.items()},
        "training.seeds": _configured(
            inputs.seeds,
            default_seeds,
            "the model that is best on val is kept" if len(inputs.seeds) > 1 else "one model",
        ),
        "training.weight_decay": _as_configured(
            "training.weight_decay", inputs, "biases and norms are not decayed"
        ),
    }


def _as_configured(key: str, inputs: PlanningInputs, evidence: str) -> ChosenValue:
    value, default = (attrgetter(key)(config) for config in (inputs.config, Config()))
    return _configured(value, default, evidence)


def _configured(value: object, default: object, evidence: str) -> ChosenValue:
    if value == default:
        return ChosenValue(value, "the default", evidence, source="default")
    return ChosenValue(value, "set in the config", evidence, source="config")


# Advice: changes that no rule makes

RARE_LABEL_ROWS = 50
LENGTH_STEP = 32
HEADLINES = frozenset({"headline", "head", "title", "subject", "heading"})
ADVICE_TOPICS = {
    "seed": "Only one seed was trained on a small training split",
    "rare_label": f"The rarest label has fewer than {RARE_LABEL_ROWS} training rows",
    "truncation": "Many training texts are longer than model.max_length",
}
"""The topics of the advice, with the issue of each."""


def _advice(inputs: PlanningInputs, recipe: Recipe) -> tuple[Advice, ...]:
    train, rarest = inputs.dataset.splits["train"], inputs.rarest_label_rows
    sentences = {}
    if inputs.is_small and len(inputs.seeds) == 1 and recipe.needs("encoder"):
        sentences["seed"] = (
            f"One seed on {inputs.rows:,} rows: another seed gives other scores (on two "
            "Somali corpora the test macro-F1 of three seeds had a standard deviation of 2.1 and "
            f"3.8 points: {TECHNIQUES}). Train several, such as training.seeds: [13, 42, 87], "
            "before you trust a small difference."
        )
    if rarest < RARE_LABEL_ROWS:
        rows = count(rarest, "training row") if rarest else "no training row"
        unlearnable = " One row can't be learned from: label more." if rarest == 1 else ""
        helpers = (
            " With 10 to 20 rows a label, rows of the same labels in another language raised the "
            f"macro-F1 by 3 to 10 points ({rules.LADDER_NOTE}): name them in data.auxiliary_path."
        )
        sentences["rare_label"] = (
            f"The rarest label has {rows}.{unlearnable}"
            f"{'' if inputs.dataset.auxiliary else helpers}"
        )
    if train.truncated_fraction > inputs.config.data.quality.max_truncated_fraction:
        sentences["truncation"] = (
            f"{percent(train.truncated_fraction, 0)} of the training texts are longer than "
            f"model.max_length, {inputs.config.model.max_length} tokens (median "
            f"{train.tokens_median:.0f}, 95th percentile {train.tokens_p95:.0f}, longest "
            f"{train.tokens_max:,}). {_headline(inputs)}{_longer(inputs)}"
        )
    return tuple(
        Advice(topic=topic, issue=ADVICE_TOPICS[topic], sentence=sentence)
        for topic, sentence in sentences.items()
    )


def _headline(inputs: PlanningInputs) -> str:
    columns = inputs.config.data.text_columns
    headlines = [column for column in columns if column.casefold() in HEADLINES]
    if not headlines:
        return "If the rows have a headline, put its column first in data.text_columns. "
    if headlines[0] == columns[0]:
        return ""
    return f"Put {headlines[0]} first in data.text_columns: the end of a long text is cut off. "


def _longer(inputs: PlanningInputs) -> str:
    length, positions = inputs.config.model.max_length, inputs.hardware.positions
    wanted = math.ceil(inputs.dataset.splits["train"].tokens_p95 / LENGTH_STEP) * LENGTH_STEP
    enough = max(wanted, length + LENGTH_STEP)
    if positions is None or enough <= positions:
        return (
            f"With model.max_length {enough} at most 5 % of the texts are cut; training is slower."
        )
    if positions > length:
        return f"model.max_length can be {positions} at most with this encoder."
    return "The encoder can't read more tokens."
