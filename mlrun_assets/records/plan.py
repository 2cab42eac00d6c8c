"""The training plan: the recipe, and why it is this one."""

from __future__ import annotations

import json
from typing import ClassVar

from mlrun_assets.files import digest_bytes
from mlrun_assets.records.record import Record


class Recipe(Record):
    """Everything that training needs to know, with no ``auto`` left."""

    encoder: str
    revision: str | None
    encoder_digest: str | None = None
    max_length: int
    trim_vocabulary: bool
    pooling: str
    batch_size: int
    learning_rate: float
    epochs: int
    seed: int
    warmup_fraction: float
    weight_decay: float
    layerwise_decay: float
    label_smoothing: float
    class_weights: tuple[float, ...] | None
    early_stopping_patience: int
    bf16: bool
    freeze: str | int
    group_by_length: bool
    attention_dropout: bool = True
    ensemble: bool = False
    pretraining_epochs: int = 0
    unlabelled_digest: str | None = None

    @property
    def comparable_digest(self) -> str:
        """The same for recipes whose scores on one val split tell their learning rates apart.

        What a few rows more of training data or another machine change does not count.
        """
        facts = self.model_dump(
            mode="json", exclude={"learning_rate", "seed", "class_weights", "bf16"}
        )
        return digest_bytes(json.dumps(facts, sort_keys=True).encode())


class Choice(Record):
    """One choice of the training plan.

    ``key`` is the config's, ``source`` one of ``rule``, ``config`` and ``earlier run``.
    """

    key: str
    value: str
    source: str
    reason: str
    evidence: str


class Advice(Record):
    """Something that training can't settle and a person could.

    ``topic`` is the same in every run that gives it, ``issue`` is the sentence without figures.
    """

    topic: str
    issue: str
    sentence: str


class TrainingPlan(Record):
    """The recipe that is used and why.

    The recipe is that of the first of ``seeds``; the others differ in the seed only. ``reuse`` is
    the earlier experiment whose checkpoint is to be taken. ``rejected`` tells of earlier recipes on
    this data that were not approved, the newest first.
    """

    asset: ClassVar[str] = "training_plan"

    recipe: Recipe
    recipe_digest: str
    seeds: tuple[int, ...] = ()
    choices: tuple[Choice, ...]
    advice: tuple[Advice, ...]
    seen_before: tuple[str, ...]
    rejected: tuple[str, ...] = ()
    reuse: str | None = None

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """One recipe a seed."""
        seeds = self.seeds or (self.recipe.seed,)
        return tuple(self.recipe.model_copy(update={"seed": seed}) for seed in seeds)
