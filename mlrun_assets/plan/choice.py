"""The inputs of the plan, how one value is chosen, and what earlier runs contribute."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from mlrun_assets.config import Config
from mlrun_assets.encoders.loading import (
    POOLED_TYPES,
    check_max_length,
    digest_encoder,
    load_config,
    load_tokenizer,
    model_positions,
)
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import can_trim
from mlrun_assets.errors import count
from mlrun_assets.machine import available_memory_bytes, bf16_speedup
from mlrun_assets.records import DatasetRecord, PriorRun, Recipe, Verdict

# The rows of the training split below which several rules are more careful.
SMALL_DATA_ROWS = 2_000
# How many seeds are trained with `training.budget: best`, if the config names none.
SEEDS_OF_BEST = 3
# How many earlier runs the plan lists for one reason.
MOST_LISTED = 5

# The inputs of the plan


@dataclass(frozen=True)
class Hardware:
    """The machine and the encoder, as far as the rules use them.

    ``encoder_digest`` covers all files of the encoder: the files behind a name can change.
    ``positions`` is the number of tokens that the encoder can read, None without a limit.
    ``untrimmable`` is the reason why the vocabulary can't be trimmed, None if it can.
    ``trained_by_mean`` is True if the encoder is known to be trained on the mean of its states,
    ``can_freeze`` if a linear head on that mean makes a classifier that transformers can load.
    ``available_memory_gb`` (2**30 bytes) is that of the accelerator if there is one.
    """

    encoder_digest: str
    accelerator: str | None
    available_memory_gb: float
    bf16_speedup: float
    hidden_size: int
    layers: int
    positions: int | None
    vocabulary: int
    untrimmable: str | None
    trained_by_mean: bool
    can_freeze: bool


def observe(encoder: EncoderSource, max_length: int) -> Hardware:
    """Inspect the machine and the encoder's config; takes under a second after the imports.

    Raises:
        EncoderError: the encoder can't be found, or reads fewer tokens than ``max_length``.
    """
    import torch

    check_max_length(encoder, max_length)
    config = load_config(encoder)
    has_accelerator = torch.cuda.is_available()
    memory = torch.cuda.mem_get_info(0)[0] if has_accelerator else available_memory_bytes()
    return Hardware(
        encoder_digest=digest_encoder(encoder),
        accelerator=torch.cuda.get_device_name(0) if has_accelerator else None,
        available_memory_gb=memory / 2**30,
        bf16_speedup=bf16_speedup(has_accelerator),
        hidden_size=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        positions=model_positions(encoder),
        vocabulary=int(config.vocab_size),
        trained_by_mean=encoder.kind == "embedded",
        can_freeze=config.model_type in POOLED_TYPES,
        untrimmable=can_trim(load_tokenizer(encoder)),
    )


@dataclass(frozen=True)
class PlanningInputs:
    """The config, the profile of the data, the machine with its encoder, and earlier runs.

    ``prior_runs`` are sorted from the newest to the oldest.
    """

    config: Config
    dataset: DatasetRecord
    hardware: Hardware
    prior_runs: tuple[PriorRun, ...] = ()

    @property
    def rows(self) -> int:
        return self.dataset.splits["train"].rows_kept

    @property
    def is_small(self) -> bool:
        return self.rows < SMALL_DATA_ROWS

    @property
    def rarest_label_rows(self) -> int:
        return min(self.dataset.splits["train"].label_rows.values())

    @property
    def tokens_read(self) -> float:
        """The tokens of the median training text that the encoder reads."""
        median = self.dataset.splits["train"].tokens_median
        return min(median, self.config.model.max_length)

    @property
    def rows_evidence(self) -> str:
        """The evidence of the rules that depend on the size of the data."""
        return count(self.rows, "training row")

    @property
    def seeds(self) -> tuple[int, ...]:
        training = self.config.training
        several = range(training.seed, training.seed + SEEDS_OF_BEST)
        return training.seeds or (tuple(several) if training.budget == "best" else (training.seed,))


# One choice


@dataclass(frozen=True)
class ChosenValue:
    """The value that a rule or the config gives to one field of the recipe, with its reason.

    ``source`` is ``rule``, ``config``, ``default`` or ``earlier run``.
    """

    value: object
    reason: str
    evidence: str
    source: str = "rule"


def choose(key: str, by_rule: ChosenValue, inputs: PlanningInputs) -> ChosenValue:
    """The config's value at ``key`` (``training.epochs``); if that is ``auto``, the rule's.

    A key without a section is not in the config: the rule always decides it.
    """
    value = attrgetter(key)(inputs.config) if "." in key else "auto"
    if value == "auto":
        return by_rule
    evidence = f"the rule gives {as_yaml(by_rule.value)}: {by_rule.evidence}"
    return ChosenValue(value, "set in the config", evidence, source="config")


def as_yaml(value: object) -> str:
    """A value as the config file would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "unset" if value is None else str(value)


# Earlier runs


def best_learning_rate(inputs: PlanningInputs, recipe: Recipe) -> ChosenValue | None:
    """The learning rate with the best val macro-F1, if earlier runs tried more than one.

    Runs count if they used this val split and ``recipe`` with any learning rate.
    """
    dataset = inputs.dataset
    wanted = (dataset.name, dataset.splits["val"].source_digest, recipe.comparable_digest)
    best: dict[float, tuple[float, str]] = {}
    for run in inputs.prior_runs:
        rate, f1 = run.learning_rate, run.val_f1_macro
        comparable = (run.data_name, run.val_digest, run.comparable_digest) == wanted
        if comparable and rate is not None and f1 is not None and f1 > best.get(rate, (-1.0,))[0]:
            best[rate] = f1, run.report
    if len(best) < 2:
        return None
    (rate, (f1, report)), *others = sorted(best.items(), key=lambda each: -each[1][0])
    listed = ", ".join(f"{other:g}: {score:.3f}" for other, (score, _) in others)
    return ChosenValue(
        rate,
        "the best on val of the learning rates that earlier runs on this data have tried",
        f"val macro-F1 {f1:.3f} in {report}; {listed}",
        source="earlier run",
    )


def same_runs(inputs: PlanningInputs, recipe_digest: str) -> list[PriorRun]:
    """The earlier runs of the same recipe on the same data, newest first."""
    wanted = (recipe_digest, inputs.dataset.digest)
    return [run for run in inputs.prior_runs if (run.recipe_digest, run.data_digest) == wanted]


def reusable_run(inputs: PlanningInputs, same: list[PriorRun]) -> str | None:
    """The newest experiment of ``same`` with a checkpoint, if ``training.reuse`` is on."""
    trained = (
        run.experiment
        for run in same
        if run.experiment and run.val_f1_macro is not None and run.labels == inputs.dataset.labels
    )
    return next(trained, None) if inputs.config.training.reuse else None


def rejected_recipes(inputs: PlanningInputs) -> tuple[str, ...]:
    """The newest recipes on this data that were not approved, with the reason."""
    rejected = [
        run
        for run in inputs.prior_runs
        if run.data_name == inputs.dataset.name
        and run.verdict in (Verdict.REJECTED, Verdict.INCONCLUSIVE)
    ]
    return tuple(
        f"{run.report}: {run.verdict}, with {run.recipe_summary or 'a recipe that is not known'}: "
        f"{run.verdict_reason or run.summary or 'no reason is recorded'}"
        for run in rejected[:MOST_LISTED]
    )
