"""The validated dataset, the training plan, the baseline and the trained checkpoint."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import ClassVar

from mlrun_assets.files import digest_bytes
from mlrun_assets.records.experiment import Record, Score, Scores

SPLITS = ("train", "val", "test")


class Severity(StrEnum):
    """Whether a failed check blocks the run or warns."""

    ERROR = "error"
    WARN = "warn"


class CheckOutcome(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    OFF = "off"


class Bound(StrEnum):
    """How the value of a check relates to its threshold where the check passes."""

    AT_MOST = "≤"
    BELOW = "<"
    AT_LEAST = "≥"
    EXACTLY = "="


class QualityCheck(Record):
    """One data-quality check and its outcome.

    The check passes if ``value`` is within ``bound`` of ``threshold``. ``value`` is None if nothing
    was measured, ``threshold`` if the check only counts. ``rows`` is the number of affected rows.
    """

    name: str
    outcome: CheckOutcome
    severity: Severity
    value: float | None
    threshold: float | None
    rows: int
    message: str
    bound: Bound = Bound.AT_MOST

    @property
    def blocks(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.ERROR

    @property
    def warns(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.WARN


class SourceFile(Record):
    """One file that a split was read from; ``name`` as messages show it.

    ``joined_lines`` is the number of lines that quotes join to the row above, ``encoding`` a guess;
    empty for Unicode.
    """

    name: str
    digest: str
    size_bytes: int
    rows_read: int
    joined_lines: int = 0
    encoding: str = ""


class SplitProfile(Record):
    """One split after validation: rows read = rows kept + rows quarantined.

    ``source_digest`` covers the file, or all ``files``. Words and tokens are per text. Without a
    tokenizer the token statistics are NaN.
    """

    source_digest: str
    source_bytes: int
    file: str
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    label_rows: dict[str, int]
    words_median: float
    words_p95: float
    tokens_median: float
    tokens_p95: float
    tokens_max: int
    tokens_per_word: float
    truncated_fraction: float
    unknown_token_fraction: float
    tokens_per_word_by_label: dict[str, float] = {}
    files: tuple[SourceFile, ...] = ()


class UnlabelledTexts(Record):
    """Texts that may be labelled next: rows read = rows kept + rows left out.

    ``left_out`` counts rows by reason; ``digest`` covers the kept texts.
    """

    files: tuple[SourceFile, ...]
    file: str
    digest: str
    rows_read: int
    rows_kept: int
    left_out: dict[str, int]


class HelperRows(UnlabelledTexts):
    """Rows that a head is also fitted to, with labels; never evaluated on."""

    label_rows: dict[str, int]


class DatasetRecord(Record):
    """The validated dataset.

    ``quarantine_reasons`` counts quarantined rows by reason, ``normalised`` changes to texts by
    kind. ``max_length`` is the limit of the model in tokens.
    """

    asset: ClassVar[str] = "validated_dataset"

    name: str
    ready: bool
    digest: str
    labels: tuple[str, ...]
    splits: dict[str, SplitProfile]
    checks: tuple[QualityCheck, ...]
    quarantine_reasons: dict[str, int]
    quarantine_file: str
    max_length: int
    normalised: dict[str, int] = {}
    unlabelled: UnlabelledTexts | None = None
    auxiliary: HelperRows | None = None

    @property
    def rows(self) -> int:
        return sum(split.rows_kept for split in self.splits.values())

    @property
    def imbalance(self) -> float:
        """Training rows of the largest label per row of the smallest."""
        rows = self.splits["train"].label_rows.values()
        return max(rows) / min(rows) if rows and min(rows) else float("inf")

    @property
    def failed_checks(self) -> list[QualityCheck]:
        """The checks that did not pass; blocking ones first."""
        failed = [check for check in self.checks if check.outcome is CheckOutcome.FAILED]
        return sorted(failed, key=lambda check: not check.blocks)


SHORT_TEXT_TOKENS = 128
"""Tokens of a text that the `Recipe.short_epochs` read."""


class Recipe(Record):
    """The training settings, without ``auto``.

    ``encoder_digest`` holds the first digits of the digest of the encoder's files. In the first
    ``short_epochs`` of the ``epochs``, texts are cut at `SHORT_TEXT_TOKENS`. ``freeze`` is
    ``none``, ``embeddings``, ``encoder`` or a number of layers.
    """

    encoder: str
    revision: str | None
    encoder_digest: str
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
    bf16: bool
    freeze: str | int
    group_by_length: bool
    attention_dropout: bool = True
    short_epochs: int = 0
    candidates: tuple[str, ...] = ()

    def needs(self, part: str) -> bool:
        """Whether a candidate has this part."""
        return any(part in name.split("+") for name in self.candidates)

    @property
    def comparable_digest(self) -> str:
        """Equal for recipes that differ in the learning rate and seed only.

        The scores of such recipes on one val split compare their learning rates. Class weights and
        bf16 are left out: they change with a few more rows or another machine.
        """
        facts = self.model_dump(
            mode="json", exclude={"learning_rate", "seed", "class_weights", "bf16"}
        )
        return digest_bytes(json.dumps(facts, sort_keys=True).encode())


class Choice(Record):
    """One choice of the training plan.

    ``key`` is the config key, ``source`` is ``rule``, ``config``, ``default`` or ``earlier run``.
    """

    key: str
    value: str
    source: str
    reason: str
    evidence: str


class Advice(Record):
    """Advice for a person, on something that the plan can't decide.

    ``topic`` identifies the advice across runs; ``issue`` is the sentence without numbers.
    """

    topic: str
    issue: str
    sentence: str


class TrainingPlan(Record):
    """The recipe and the reasons for it.

    ``recipe`` has the first of ``seeds``; the others differ in the seed only. ``reuse`` is the
    earlier experiment whose checkpoint is reused. ``seen_before`` and ``rejected`` describe earlier
    runs on this data with this plan, and earlier recipes that were not approved, newest first.
    """

    asset: ClassVar[str] = "training_plan"

    recipe: Recipe
    recipe_digest: str
    seeds: tuple[int, ...]
    choices: tuple[Choice, ...]
    advice: tuple[Advice, ...]
    seen_before: tuple[str, ...]
    rejected: tuple[str, ...] = ()
    reuse: str | None = None

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """One recipe per seed."""
        return tuple(self.recipe.model_copy(update={"seed": seed}) for seed in self.seeds)


class EpochMetrics(Record):
    """One epoch of the training history."""

    epoch: float
    step: int
    train_loss: float | None
    val_loss: float
    val_accuracy: float
    val_f1_macro: float


class VocabularyTrim(Record):
    """Vocabulary size, parameters and tokens of the val texts before and after trimming."""

    pieces_before: int
    pieces_after: int
    parameters_before: int
    parameters_after: int
    val_tokens_before: int
    val_tokens_after: int
    val_unknown_before: int
    val_unknown_after: int

    @property
    def fertility_growth(self) -> float:
        """Relative growth of the number of tokens in the val texts."""
        return self.val_tokens_after / max(1, self.val_tokens_before) - 1.0


class SeedResult(Record):
    """The encoder of one seed on val."""

    seed: int
    val_f1_macro: float
    val_accuracy: float
    val_loss: float
    seconds: float
    model_dir: str
    digest: str


class FineTuningRecord(Record):
    """The fine-tuning of the encoder; with several seeds, that of the best one on val.

    ``passed_over`` names the damaged checkpoints that a resumed training skipped.
    """

    history: tuple[EpochMetrics, ...]
    resumed_from_step: int | None
    passed_over: tuple[str, ...]
    steps: int
    seconds: float
    tokens_per_second: float
    peak_memory_mb: float
    seed: int
    seeds: tuple[SeedResult, ...]


class CandidateRecord(Record):
    """A candidate model, judged on rows that its parts were not trained on.

    These are ``rows`` of train and val, or of val if a part was fine-tuned. The log-losses are on
    the ``rows_compared`` that all candidates were judged on; ``loss_above_chosen`` is the mean
    difference to that of the chosen candidate, with its standard error. ``weights`` are the factors
    of the parts' scores.
    """

    name: str
    rows: int
    f1_macro: Score
    accuracy: float
    log_loss: float
    loss_above_chosen: float
    loss_error: float
    rows_compared: int
    weights: dict[str, float]


class Acceptance(Record):
    """The confidence at or above which ``min_precision`` of the labels are shown to be right.

    It is chosen on ``rows`` that the parts of the model were not trained on. ``configured`` is
    whether ``min_precision`` is ``deployment.min_precision``, so that the model has the threshold.
    If no ``confidence`` is shown, about ``rows_needed`` would show one; None: over 100 times as
    many.
    """

    min_precision: float
    confidence: float | None
    configured: bool
    rows: int
    rows_needed: int | None = None


class CheckpointRecord(Record):
    """The model of the run: the chosen one of the candidates.

    ``acceptance`` is for ``deployment.min_precision``, or for examples if that is not set.
    ``fine_tuning`` is None if no candidate needs it. ``reused_from`` is the earlier experiment
    whose model was reused, ``not_reused`` the reason why a planned one was not.
    """

    asset: ClassVar[str] = "trained_checkpoint"

    model_dir: str
    digest: str
    size_bytes: int
    parameters: int
    chosen: str
    candidates: tuple[CandidateRecord, ...]
    trim: VocabularyTrim | None
    fine_tuning: FineTuningRecord | None
    acceptance: tuple[Acceptance, ...] = ()
    reused_from: str | None = None
    not_reused: str | None = None

    @property
    def winner(self) -> CandidateRecord:
        """The chosen candidate."""
        return next(each for each in self.candidates if each.name == self.chosen)

    @property
    def has_ngrams(self) -> bool:
        """Whether n-grams are a part of the model."""
        return "ngrams" in self.winner.weights

    @property
    def is_fine_tuned(self) -> bool:
        """Whether the fine-tuned encoder is a part of the model."""
        return "encoder" in self.winner.weights

    def training_seconds(self, candidate: str, baseline: BaselineRecord) -> float:
        """The time to train the parts of a candidate, with all seeds."""
        frozen, helped, tuned = baseline.frozen, baseline.helped, self.fine_tuning
        seconds = {
            "ngrams": baseline.seconds,
            "frozen": frozen.seconds if frozen else 0.0,
            "helped": helped.seconds if helped else 0.0,
            "encoder": sum(seed.seconds for seed in tuned.seeds) if tuned else 0.0,
        }
        return sum(seconds[part] for part in candidate.split("+"))


class NgramCandidate(Record):
    """One n-gram model that was tried, with its scores in cross-validation on train and val."""

    name: str
    accuracy: float
    f1_macro: float
    seconds: float


class FrozenRecord(Record):
    """The frozen encoder with a linear head: scores in cross-validation on train and val.

    ``seconds`` include the pass over the texts, for each head again. ``label_names`` is the share
    of the scores that comes from the names of the labels; None: they are no words.
    """

    accuracy: float
    f1_macro: float
    label_names: float | None = None
    seconds: float
    trim: VocabularyTrim | None


class BaselineRecord(Record):
    """Test scores of the n-gram model and of always predicting the majority label.

    ``helped`` is the frozen encoder with a head that is also fitted to the helper rows.
    """

    asset: ClassVar[str] = "baseline_metrics"

    candidates: tuple[NgramCandidate, ...]
    chosen: str
    majority_label: str
    majority: Scores
    linear: Scores
    predictions_file: str
    seconds: float
    model_dir: str
    frozen: FrozenRecord | None = None
    helped: FrozenRecord | None = None
