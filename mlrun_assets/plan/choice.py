"""How one choice is made: a value in the config wins over the rule; each says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlrun_assets.config import Config
from mlrun_assets.encoders.loading import (
    check_max_length,
    digest_encoder,
    load_config,
    load_tokenizer,
    model_positions,
)
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import can_trim
from mlrun_assets.machine import bf16_speedup, trainable_memory_bytes
from mlrun_assets.records import Choice, DatasetRecord, PriorRun, Recipe, Verdict


@dataclass(frozen=True)
class Hardware:
    """The machine and the encoder, as far as the training plan looks at them.

    ``encoder_digest`` is of all files of the encoder: behind a name there can be others tomorrow.
    ``untrimmable`` says why the vocabulary can't be trimmed; None: it can. ``trained_by_mean``:
    the encoder is known to have learned to give the mean of its states. ``positions`` is how many
    tokens it can read; None: it sets no limit. ``available_memory_gb``, of 2**30 bytes, is the
    accelerator's where there is one.
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


def observe(encoder: EncoderSource, max_length: int) -> Hardware:
    """Look at the machine and at the encoder's config; takes a fraction of a second after imports.

    Raises:
        EncoderError: the encoder can't be found, or reads fewer tokens than ``max_length``.
    """
    import torch

    check_max_length(encoder, max_length)
    config = load_config(encoder)
    has_accelerator = torch.cuda.is_available()
    return Hardware(
        encoder_digest=digest_encoder(encoder),
        accelerator=torch.cuda.get_device_name(0) if has_accelerator else None,
        available_memory_gb=trainable_memory_bytes(has_accelerator) / 2**30,
        bf16_speedup=bf16_speedup(has_accelerator),
        hidden_size=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        positions=model_positions(encoder),
        vocabulary=int(config.vocab_size),
        trained_by_mean=encoder.kind == "embedded",
        untrimmable=can_trim(load_tokenizer(encoder)),
    )


SMALL_DATA_ROWS = 2_000


@dataclass(frozen=True)
class PlanningInputs:
    """The config, the profile of the data, the machine with its encoder, and earlier runs.

    ``prior_runs`` have the newest first.
    """

    config: Config
    dataset: DatasetRecord
    circumstances: Hardware
    prior_runs: tuple[PriorRun, ...] = ()

    @property
    def rows(self) -> int:
        return self.dataset.splits["train"].rows_kept

    @property
    def is_small(self) -> bool:
        return self.rows < SMALL_DATA_ROWS

    @property
    def fewest(self) -> int:
        """Training rows of the rarest label."""
        return min(self.dataset.splits["train"].label_rows.values())

    @property
    def said_rows(self) -> str:
        """The evidence of the rules that go by the size of the data."""
        return f"{self.rows:,} training rows"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are trained."""
        training = self.config.training
        return training.seeds or (training.seed,)


@dataclass(frozen=True)
class Ruling:
    """What a rule says; ``source`` is ``earlier run`` where one of those has settled it."""

    value: object
    reason: str
    evidence: str
    source: str = "rule"


Rule = Callable[[PlanningInputs], Ruling]


@dataclass(frozen=True)
class Chosen:
    """A choice with its value as the recipe takes it."""

    key: str
    value: object
    source: str
    reason: str
    evidence: str

    @property
    def choice(self) -> Choice:
        """The choice as the plan's table shows it."""
        return Choice(
            key=self.key,
            value=written(self.value),
            source=self.source,
            reason=self.reason,
            evidence=self.evidence,
        )

    @property
    def field(self) -> str:
        """The recipe's field that it fills."""
        return self.key.rpartition(".")[2]


def choose(key: str, rule: Rule, situation: PlanningInputs) -> Chosen:
    """What the config sets at ``key`` (``training.epochs``), else what the rule says.

    A key without a section is not in the config: the rule always decides it.
    """
    ruling = rule(situation)
    value = configured(situation.config, key) if "." in key else "auto"
    if value == "auto":
        return Chosen(key, ruling.value, ruling.source, ruling.reason, ruling.evidence)
    evidence = f"the rule says {written(ruling.value)}: {ruling.evidence}"
    return Chosen(key, value, "config", "set in the config", evidence)


def configured(config: Config, key: str) -> object:
    """The value at a path of the config, such as ``training.epochs``."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def written(value: object) -> str:
    """A value as the config would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "unset" if value is None else str(value)


MOST_REJECTED = 5
NOT_APPROVED = (Verdict.REJECTED, Verdict.INCONCLUSIVE)


def best_learning_rate(situation: PlanningInputs, recipe: Recipe) -> Ruling | None:
    """The rate with the best val macro-F1, where earlier runs have tried more than one.

    They count when they chose on this val split, and trained by ``recipe`` in all but the rate: a
    short trial, or another encoder under the same name, says nothing of a rate.
    """
    best: dict[float, tuple[float, str]] = {}
    for run in _on_this_data(situation):
        comparable = (
            run.comparable_digest == recipe.comparable_digest
            and run.val_digest == situation.dataset.splits["val"].source_digest
        )
        if comparable and run.learning_rate is not None and run.val_f1_macro is not None:
            known = best.get(run.learning_rate)
            if known is None or run.val_f1_macro > known[0]:
                best[run.learning_rate] = (run.val_f1_macro, run.report)
    if len(best) < 2:
        return None
    rate, *others = sorted(best, key=lambda each: -best[each][0])
    f1, report = best[rate]
    listed = ", ".join(f"{other:g}: {best[other][0]:.3f}" for other in others)
    return Ruling(
        rate,
        "the best on val of the learning rates that earlier runs on this data have tried",
        f"val macro-F1 {f1:.3f} in {report}; {listed}",
        source="earlier run",
    )


def seen_before(situation: PlanningInputs, recipe: str) -> tuple[str, ...]:
    """The earlier runs of the same recipe on the same data, with their results."""
    return tuple(
        f"{run.report}: the same recipe on the same data gave {run.summary or 'no metrics'}"
        for run in _same_runs(situation, recipe)
    )


def reusable_run(situation: PlanningInputs, recipe: str) -> str | None:
    """The newest experiment whose checkpoint is to be taken; None: none, or not asked for."""
    if not situation.config.training.reuse:
        return None
    for run in _same_runs(situation, recipe):
        trained = run.val_f1_macro is not None
        if run.experiment and trained and run.labels == situation.dataset.labels:
            return run.experiment
    return None


def rejected_recipes(situation: PlanningInputs) -> tuple[str, ...]:
    """Earlier recipes on this data that were not approved, and why; the newest few."""
    rejected = [run for run in _on_this_data(situation) if run.verdict in NOT_APPROVED]
    return tuple(
        f"{run.report}: {run.verdict}, with {run.recipe_summary or 'a recipe that is not known'}: "
        f"{run.verdict_reason or run.summary or 'no reason is recorded'}"
        for run in rejected[:MOST_REJECTED]
    )


def _same_runs(situation: PlanningInputs, recipe: str) -> list[PriorRun]:
    data = situation.dataset.digest
    return [
        run
        for run in situation.prior_runs
        if run.recipe_digest == recipe and run.data_digest == data
    ]


def _on_this_data(situation: PlanningInputs) -> list[PriorRun]:
    name = situation.dataset.name
    return [run for run in situation.prior_runs if name is not None and run.data_name == name]
