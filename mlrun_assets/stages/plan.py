"""Stage ``training_plan``: the config, the data and the machine in; a recipe with reasons out.

Every rule is a function of its own that returns a `Choice`; a value in the config wins over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from mlrun_assets.config import Config
from mlrun_assets.files import digest_bytes
from mlrun_assets.records import Advice, Choice, DatasetRecord, PriorRun, Recipe, TrainingPlan
from mlrun_assets.trainer.circumstances import Circumstances

SMALL_DATA_ROWS = 2_000
LARGE_VOCABULARY = 50_000
WORTHWHILE_BF16_SPEEDUP = 1.2
MAX_SQRT_WEIGHT = 5.0
ADVICE_TOPICS = ("seed", "rare_label")


@dataclass(frozen=True)
class Situation:
    """All that the rules may look at."""

    config: Config
    dataset: DatasetRecord
    circumstances: Circumstances

    @property
    def rows(self) -> int:
        return self.dataset.splits["train"].rows_kept

    @property
    def fewest(self) -> int:
        """Training rows of the rarest label."""
        return min(self.dataset.splits["train"].label_rows.values())


def plan_training(situation: Situation, prior_runs: tuple[PriorRun, ...]) -> TrainingPlan:
    """The recipe for ``situation``, with a reason for each choice; a pure function."""
    weights, weights_choice = _class_weights(situation)
    choices = (
        _batch_size(situation),
        _learning_rate(situation),
        _epochs(situation),
        _early_stopping(situation),
        _warmup(situation),
        _layerwise_decay(situation),
        _label_smoothing(situation),
        weights_choice,
        _freeze(situation),
        _pooling(situation),
        _trim_vocabulary(situation),
        _bf16(situation),
    )
    chosen = {choice.key: choice.value for choice in choices}
    config = situation.config
    recipe = Recipe(
        encoder=config.model.name,
        revision=config.model.revision,
        max_length=config.model.max_length,
        trim_vocabulary=chosen["trim_vocabulary"] == "true",
        pooling=chosen["pooling"],
        batch_size=int(chosen["batch_size"]),
        learning_rate=float(chosen["learning_rate"]),
        epochs=int(chosen["epochs"]),
        seed=config.training.seed,
        warmup_fraction=float(chosen["warmup_fraction"]),
        weight_decay=config.training.weight_decay,
        layerwise_decay=float(chosen["layerwise_decay"]),
        label_smoothing=float(chosen["label_smoothing"]),
        class_weights=weights,
        early_stopping_patience=int(chosen["early_stopping_patience"]),
        bf16=chosen["bf16"] == "true",
        freeze=chosen["freeze"],
        group_by_length=True,
    )
    digest = recipe_digest(recipe)
    return TrainingPlan(
        recipe=recipe,
        recipe_digest=digest,
        choices=choices,
        advice=_advice(situation),
        seen_before=_seen_before(prior_runs, digest, situation.dataset.digest),
    )


def recipe_digest(recipe: Recipe) -> str:
    """The same for recipes that train the same."""
    return digest_bytes(orjson.dumps(recipe.model_dump(), option=orjson.OPT_SORT_KEYS))


def _choose(key: str, configured: object, ruled: object, reason: str, evidence: str) -> Choice:
    """The configured value where there is one, else what the rule says."""
    if configured == "auto":
        return Choice(key=key, value=_text(ruled), source="rule", reason=reason, evidence=evidence)
    return Choice(
        key=key,
        value=_text(configured),
        source="config",
        reason="set in the config",
        evidence=f"the rule says {_text(ruled)}: {evidence}",
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _batch_size(situation: Situation) -> Choice:
    ruled = 16 if situation.rows < SMALL_DATA_ROWS else 32
    workers = situation.config.training.num_workers
    return _choose(
        "batch_size",
        situation.config.training.batch_size,
        -(-ruled // workers) * workers,  # each worker has an equal part
        "few rows need many steps (Mosbach et al., 2021)",
        f"{situation.rows:,} training rows",
    )


def _learning_rate(situation: Situation) -> Choice:
    hidden = situation.circumstances.hidden_size
    if _freeze(situation).value == "encoder":
        return _choose(
            "learning_rate",
            situation.config.training.learning_rate,
            1e-2,
            "a linear head alone starts from nothing and has nothing to forget",
            "the encoder is frozen",
        )
    return _choose(
        "learning_rate",
        situation.config.training.learning_rate,
        1e-4 if hidden < 512 else 3e-5,
        "a narrow encoder takes, and needs, larger steps than a base-sized one",
        f"the encoder is {hidden} wide",
    )


def _epochs(situation: Situation) -> Choice:
    rows = situation.rows
    ruled = 15 if rows < 1_000 else 10 if rows < SMALL_DATA_ROWS else 5
    return _choose(
        "epochs",
        situation.config.training.epochs,
        ruled,
        "below 2,000 rows long training is the stable one (Mosbach et al., 2021)",
        f"{rows:,} training rows",
    )


def _early_stopping(situation: Situation) -> Choice:
    return _choose(
        "early_stopping_patience",
        situation.config.training.early_stopping_patience,
        4,
        "stops when val macro-F1 has not risen for some epochs; the best epoch is kept",
        f"{situation.dataset.splits['val'].rows_kept:,} val rows",
    )


def _warmup(situation: Situation) -> Choice:
    return _choose(
        "warmup_fraction",
        situation.config.training.warmup_fraction,
        0.1,
        "a short rise of the learning rate keeps the first steps from undoing the pretraining",
        "a tenth of the steps (Mosbach et al., 2021)",
    )


def _layerwise_decay(situation: Situation) -> Choice:
    small = situation.rows < SMALL_DATA_ROWS
    return _choose(
        "layerwise_decay",
        situation.config.training.layerwise_decay,
        0.9 if small else 1.0,
        "lower layers hold what few rows can only spoil (Zhang et al., 2021)",
        f"{situation.rows:,} training rows",
    )


def _label_smoothing(situation: Situation) -> Choice:
    small = situation.rows < SMALL_DATA_ROWS
    return _choose(
        "label_smoothing",
        situation.config.training.label_smoothing,
        0.1 if small else 0.0,
        "few rows make a model too sure of itself",
        f"{situation.rows:,} training rows",
    )


def _class_weights(situation: Situation) -> tuple[tuple[float, ...] | None, Choice]:
    imbalance = situation.dataset.imbalance
    ruled = "sqrt" if imbalance >= 10 else "balanced" if imbalance >= 3 else "none"
    choice = _choose(
        "class_weights",
        situation.config.training.class_weights,
        ruled,
        "rare labels weigh more where the labels are unequal; beyond 10 to 1 only by the root",
        f"the largest label has {imbalance:.1f} times the rows of the smallest",
    )
    return _weights(situation.dataset, choice.value), choice


def _weights(dataset: DatasetRecord, kind: str) -> tuple[float, ...] | None:
    """Inverse frequencies with mean 1 over the rows, or their roots, capped."""
    if kind == "none":
        return None
    counts = [dataset.splits["train"].label_rows[label] for label in dataset.labels]
    inverse = [sum(counts) / (len(counts) * count) for count in counts]
    if kind == "balanced":
        return tuple(inverse)
    return tuple(min(MAX_SQRT_WEIGHT, weight**0.5) for weight in inverse)


def _freeze(situation: Situation) -> Choice:
    return _choose(
        "freeze",
        situation.config.training.freeze,
        "encoder" if situation.fewest < 20 else "none",
        "below 20 rows of a label a linear head on the frozen encoder is the safer model",
        f"the rarest label has {situation.fewest} training rows",
    )


def _pooling(situation: Situation) -> Choice:
    by_mean = situation.circumstances.trained_by_mean
    return _choose(
        "pooling",
        situation.config.model.pooling,
        "mean" if by_mean else "first",
        "a classifier starts best from what the encoder was trained to give",
        f"{situation.config.model.name} was trained on the {'mean' if by_mean else 'first token'}",
    )


def _trim_vocabulary(situation: Situation) -> Choice:
    circumstances = situation.circumstances
    on_cpu, can = circumstances.accelerator is None, circumstances.untrimmable is None
    evidence = (
        f"{circumstances.vocabulary:,} pieces, {circumstances.accelerator or 'no accelerator'}"
    )
    return _choose(
        "trim_vocabulary",
        situation.config.model.trim_vocabulary,
        on_cpu and can and circumstances.vocabulary > LARGE_VOCABULARY,
        "word pieces that the data never uses cost time and memory on a CPU",
        evidence if can else f"{evidence}; {circumstances.untrimmable}",
    )


def _bf16(situation: Situation) -> Choice:
    speedup = situation.circumstances.bf16_speedup
    return _choose(
        "bf16",
        situation.config.training.bf16,
        speedup >= WORTHWHILE_BF16_SPEEDUP,
        "bfloat16 where this machine multiplies it clearly faster than float32",
        f"a matrix product is {speedup:.1f} times as fast",
    )


def _advice(situation: Situation) -> tuple[Advice, ...]:
    advice = []
    if situation.rows < SMALL_DATA_ROWS:
        advice.append(
            Advice(
                topic=ADVICE_TOPICS[0],
                issue="Only one seed was trained on a small training split",
                sentence=f"One seed on {situation.rows:,} rows: another seed can change the scores "
                "by several points. Repeat the run with other values of training.seed before you "
                "trust a small difference.",
            )
        )
    if situation.fewest < 50:
        advice.append(
            Advice(
                topic=ADVICE_TOPICS[1],
                issue="The rarest label has fewer than 50 training rows",
                sentence=f"The rarest label has {situation.fewest} training rows. Below 50, rows "
                "of the same label in English or Swahili can help.",
            )
        )
    return tuple(advice)


def _seen_before(prior_runs: tuple[PriorRun, ...], recipe: str, data: str) -> tuple[str, ...]:
    return tuple(
        f"{run.report}: the same recipe on the same data gave {run.summary}"
        for run in prior_runs
        if run.recipe_digest == recipe and run.data_digest == data
    )
