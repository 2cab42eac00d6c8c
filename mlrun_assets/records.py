"""What flows between the stages: one frozen record a stage, kept as JSON in the experiment.

Numbers carry their unit in the name; scores and shares are fractions between 0 and 1. Paths in a
record are relative to the experiment's directory, so that an experiment can be moved.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mlrun_assets.errors import RecordError
from mlrun_assets.files import write_atomically

SPLITS = ("train", "val", "test")


class Record(BaseModel):
    """What all records share: frozen, no key that is not declared, kept as JSON.

    The record that an asset writes names the asset.
    """

    asset: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            RecordError: the file is missing or is not such a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise RecordError(
                f"{path}: no such record; materialize the asset that writes it first, in the same "
                "experiment"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{path}: not a {cls.__name__} of this version ({place}: {first['msg']}); "
                "materialize its asset again"
            ) from None

    def save(self, path: Path) -> None:
        """Write the record in one step."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")


# --- experiment ---------------------------------------------------------------------------------


class Status(StrEnum):
    """How an experiment stands, as its registry line says it."""

    RUNNING = "Running"
    COMPLETE = "Complete"
    BLOCKED = "Blocked"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"
    PARTIAL = "Partial"


class StageRun(Record):
    """One stage of an experiment: when it ran and what it took."""

    status: str
    started_at: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None


class Manifest(Record):
    """An experiment's identity and state: ``manifest.json``, written first, updated in one step."""

    id: str
    name: str
    original_name: str | None
    report: str
    status: Status
    created_at: str
    closed_at: str | None = None
    run_ids: tuple[str, ...] = ()
    closed_by: str | None = None
    inputs: dict[str, str] = {}
    stages: dict[str, StageRun] = {}
    error: str | None = None


class Environment(Record):
    """What an experiment ran on.

    ``thread_limits`` are the variables that say how many threads a library may use: another number
    of them adds floats in another order.
    """

    python: str
    platform: str
    cpu_count: int
    memory_gb: float
    accelerator: str | None
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    cpu_model: str | None = None
    thread_limits: dict[str, str] = {}


class PriorRun(Record):
    """An earlier experiment, as its records and its registry line tell it.

    ``val_f1_macro`` is that of the trained checkpoint, the mean over its seeds; ``verdict_reason``
    is what the rules said that decided.
    """

    report: str
    status: str
    experiment: str | None = None
    summary: str = ""
    created_at: str | None = None
    labels: tuple[str, ...] = ()
    data_name: str | None = None
    data_digest: str | None = None
    test_digest: str | None = None
    recipe_digest: str | None = None
    recipe_summary: str | None = None
    encoder: str | None = None
    learning_rate: float | None = None
    freeze: str | int | None = None
    ensemble: bool = False
    pretraining_epochs: int = 0
    val_digest: str | None = None
    val_f1_macro: float | None = None
    verdict: str | None = None
    verdict_reason: str | None = None
    accuracy: float | None = None
    f1: float | None = None


class DebtItem(Record):
    """One item of the tech-debt registry."""

    number: int
    description: str
    impact: str
    done: bool


class ProductionVersion(Record):
    """A model version that is, or was, in production.

    ``digest`` is of all files of its directory, ``export_digest`` of those that the experiment
    exported, without the model card; none: there is no card among them. ``text_columns`` and
    ``language`` say how its texts were made; none: it was promoted before that was kept, or its
    experiment can't tell.
    """

    version: str
    experiment: str
    report: str
    digest: str
    labels: tuple[str, ...]
    max_length: int
    promoted_at: str
    accuracy: float | None
    f1: float | None
    export_digest: str | None = None
    text_columns: tuple[str, ...] | None = None
    language: str | None = None


class ExperimentRecord(Record):
    """What the run knows before it touches data."""

    asset: ClassVar[str] = "experiment"

    id: str
    name: str
    original_name: str | None
    report: str
    config_digest: str
    environment: Environment
    prior_runs: tuple[PriorRun, ...]
    best_run: str | None
    unreadable_lines: int
    open_debt: tuple[DebtItem, ...]
    production: ProductionVersion | None


# --- data ---------------------------------------------------------------------------------------


class Severity(StrEnum):
    """What it means that a check does not pass."""

    ERROR = "error"
    WARN = "warn"


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    OFF = "off"


class QualityCheck(Record):
    """One data-quality check and what it found."""

    name: str
    outcome: CheckOutcome
    severity: Severity
    value: float | None
    threshold: float | None
    rows: int
    message: str

    @property
    def blocks(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.ERROR

    @property
    def warns(self) -> bool:
        return self.outcome is CheckOutcome.FAILED and self.severity is Severity.WARN


class SourceFile(Record):
    """One file that a split was read from, called as messages call it."""

    name: str
    digest: str
    size_bytes: int
    rows_read: int


class SplitProfile(Record):
    """One split after validation: rows read = rows kept + rows quarantined.

    ``source_digest`` is that of the file, or a joint one of all ``files``. What counts tokens is
    not a number where there was no tokenizer to count them.
    """

    source: str
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
    """Texts that only pretraining reads: rows read = rows kept + all that were left out.

    ``left_out`` counts rows by reason; ``digest`` is of the texts that were kept.
    """

    files: tuple[SourceFile, ...]
    file: str
    digest: str
    rows_read: int
    rows_kept: int
    left_out: dict[str, int]


class DatasetRecord(Record):
    """The validated dataset."""

    asset: ClassVar[str] = "validated_dataset"

    name: str | None = None
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

    @property
    def rows(self) -> int:
        return sum(split.rows_kept for split in self.splits.values())

    @property
    def imbalance(self) -> float:
        """Training rows of the largest label per row of the smallest."""
        rows = self.splits["train"].label_rows.values()
        return max(rows) / min(rows) if rows and min(rows) else float("inf")


# --- training -----------------------------------------------------------------------------------


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


class EpochMetrics(Record):
    """One epoch of the training history."""

    epoch: float
    step: int
    train_loss: float | None
    val_loss: float
    val_accuracy: float
    val_f1_macro: float


class VocabularyTrim(Record):
    """What vocabulary trimming did."""

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
        """Growth of the number of tokens of the val texts."""
        return self.val_tokens_after / max(1, self.val_tokens_before) - 1.0


class SeedResult(Record):
    """The model of one seed on val, at its best epoch.

    Of a mixture with n-grams only the F1 is its own: accuracy and loss are the encoder's.
    """

    seed: int
    val_f1_macro: float
    val_accuracy: float
    val_loss: float
    best_epoch: float
    seconds: float
    model_dir: str
    digest: str


class EnsembleRecord(Record):
    """An encoder mixed with an n-gram model: the weights, and what each reaches on val."""

    ngram_model: str
    encoder_weight: float
    ngram_weight: float
    val_f1_encoder: float
    val_f1_ngrams: float
    val_f1_mixed: float


class PretrainingRecord(Record):
    """Contrastive pretraining before the labels: what it read and how its loss fell.

    ``pairs`` are those of all epochs; the losses are the means of the first and the last one.
    """

    texts: int
    pairs: int
    epochs: int
    first_loss: float
    last_loss: float
    seconds: float


class CheckpointRecord(Record):
    """The trained checkpoint: of the seed that is best on val, where several were trained.

    ``reused_from`` is the earlier experiment that it was taken from instead of being trained,
    ``not_reused`` why one that was to be taken was not.
    """

    asset: ClassVar[str] = "trained_checkpoint"

    model_dir: str
    digest: str
    size_bytes: int
    parameters: int
    history: tuple[EpochMetrics, ...]
    best_epoch: float
    stopped_early: bool
    resumed_from_step: int | None
    passed_over: tuple[str, ...]
    steps: int
    seconds: float
    tokens_per_second: float
    peak_memory_mb: float
    trim: VocabularyTrim | None
    threads: int | None = None
    seed: int | None = None
    seeds: tuple[SeedResult, ...] = ()
    reused_from: str | None = None
    not_reused: str | None = None
    ensemble: EnsembleRecord | None = None
    pretraining: PretrainingRecord | None = None


# --- evaluation ---------------------------------------------------------------------------------


class Score(Record):
    """A score with the interval of the configured confidence."""

    value: float
    low: float
    high: float


class ClassScores(Record):
    """How one label is predicted."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


class Scores(Record):
    """How one model does on one split."""

    rows: int
    accuracy: Score
    f1_macro: Score
    f1_weighted: Score
    mcc: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


class BaselineCandidate(Record):
    """One linear model that was tried."""

    name: str
    val_accuracy: float
    val_f1_macro: float
    seconds: float


class BaselineRecord(Record):
    """What a model that trains in seconds reaches."""

    asset: ClassVar[str] = "baseline_metrics"

    candidates: tuple[BaselineCandidate, ...]
    chosen: str
    majority_label: str
    majority: Scores
    linear: Scores
    predictions_file: str
    seconds: float
    model_dir: str | None = None


class PartComparison(Record):
    """Recall of one label, or accuracy on one slice of the test split, of both models.

    On a slice ``recall`` is the share of its rows that are right. ``loss`` is the other's recall
    less the challenger's, with its paired interval.
    """

    part: str
    rows: int
    recall: float
    other_recall: float
    loss: Score


class Comparison(Record):
    """The challenger against one other model on the same rows.

    ``parts_confidence`` is that of each part's interval, so high that all hold together with the
    confidence of the evaluation; None: each holds on its own.
    """

    against: str
    comparable: bool
    reason: str
    rows: int
    other_f1: float | None = None
    other_accuracy: float | None = None
    f1_difference: Score | None = None
    accuracy_difference: float | None = None
    only_challenger_right: int | None = None
    only_other_right: int | None = None
    mcnemar_p: float | None = None
    labels: tuple[PartComparison, ...] = ()
    slices: tuple[PartComparison, ...] = ()
    parts_confidence: float | None = None


class SliceScores(Record):
    """Scores on a part of the test split; none where there are too few rows to tell."""

    column: str
    value: str
    rows: int
    accuracy: Score | None


class SeedScores(Record):
    """Test scores of the model of one seed."""

    seed: int
    accuracy: float
    f1_macro: float
    f1_weighted: float


class Spread(Record):
    """Mean and sample standard deviation over seeds."""

    mean: float
    sd: float


class SeedSpread(Record):
    """How the test scores vary with the seed."""

    accuracy: Spread
    f1_macro: Spread
    f1_weighted: Spread


class ReliabilityBin(Record):
    """Rows whose confidence lies in one bin: how sure, and how right, the model is there.

    ``accuracy`` has Wilson's interval; None: it was recorded before it had one.
    """

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    accuracy_low: float | None = None
    accuracy_high: float | None = None


class ErrorByChance(Record):
    """The calibration error of a perfectly calibrated model on as many rows, as sure of each.

    ``p95``: it is larger in one test split of twenty.
    """

    mean: float
    p95: float


class Calibration(Record):
    """How far probabilities can be believed, on test; the temperature is fitted on val.

    Errors are expected calibration errors, Brier scores sums over the labels (0 to 2). What is
    ``scaled`` is after division of the logits by the temperature; the bins are before. ``chance``
    is what the errors are to be held against; None: it was recorded before that was known.
    """

    temperature: float
    error: float
    error_scaled: float
    brier: float
    brier_scaled: float
    bins: tuple[ReliabilityBin, ...]
    bins_scaled: tuple[ReliabilityBin, ...]
    chance: ErrorByChance | None = None
    chance_scaled: ErrorByChance | None = None


class TestUse(Record):
    """How worn the test split is: how many models have been judged on it, this one included.

    ``confidence`` is what the intervals have after the correction.
    """

    looks: int
    max_looks: int
    confidence: float

    @property
    def worn(self) -> bool:
        return self.looks > self.max_looks


class LabelNext(Record):
    """Rows that a person should label next, in ``label_next_file``.

    Of ``candidates`` rows of ``split`` (``unlabelled``, or ``val`` where there are none) ``worth``
    are worth it and ``rows`` are listed; ``doubted`` of these have a label that no model gives.
    """

    split: str
    candidates: int
    worth: int
    rows: int
    doubted: int


class EvaluationRecord(Record):
    """How the checkpoint does on the test split; with several seeds, how each of them does."""

    asset: ClassVar[str] = "evaluation_metrics"

    test_digest: str
    labels: tuple[str, ...]
    f1_kind: str
    confidence: float
    val: Scores
    test: Scores
    test_without_leaks: Scores | None = None
    calibration_error: float
    slices: tuple[SliceScores, ...]
    baseline: Comparison
    production: Comparison | None
    predictions_file: str
    seconds: float
    rows_per_second: float
    seeds: tuple[SeedScores, ...] = ()
    over_seeds: SeedSpread | None = None
    calibration: Calibration | None = None
    test_use: TestUse | None = None
    label_next_file: str | None = None
    label_next: LabelNext | None = None

    @property
    def f1(self) -> Score:
        """The F1 that ``min_f1`` means."""
        return self.test.f1_macro if self.f1_kind == "macro" else self.test.f1_weighted

    @property
    def f1_over_seeds(self) -> Spread | None:
        """That F1 over the seeds; None: only one was trained."""
        spread = self.over_seeds
        if spread is None:
            return None
        return spread.f1_macro if self.f1_kind == "macro" else spread.f1_weighted


# --- deployment ---------------------------------------------------------------------------------


class OnnxExport(Record):
    """One ONNX form of the model, as a process without torch saw it.

    ``file`` is relative to the model's directory, where the form is ``kept``; one that is not was
    tried only. The size is that of all that serves it. ``agreement`` is with the checkpoint's
    labels on val; the latency is that of one text.
    """

    file: str
    precision: str
    size_bytes: int
    agreement: float
    val_f1_macro: float
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float
    kept: bool = True


class ExportRecord(Record):
    """What would be deployed, as fresh processes saw it.

    The numbers are those of the transformers form; ``rows_per_second`` is of 64 texts. ``onnx`` are
    the ONNX forms that were tried, ``onnx_left_out`` says why one is not in the directory.
    """

    asset: ClassVar[str] = "exported_model"

    model_dir: str
    digest: str
    size_bytes: int
    rows_compared: int
    agreement: float
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float | None = None
    onnx: tuple[OnnxExport, ...] = ()
    onnx_left_out: tuple[str, ...] = ()

    @property
    def kept_onnx(self) -> OnnxExport | None:
        """The ONNX form that lies in the directory; None: there is none."""
        return next((form for form in self.onnx if form.kept), None)


class RuleOutcome(StrEnum):
    """What one rule of the decision says."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"
    OFF = "off"


class RuleResult(Record):
    """One rule, what it compared, and what follows.

    ``rows_needed`` is how many test rows would settle a rule that is inconclusive; None: there is
    nothing to settle, or no number of rows would.
    """

    rule: str
    outcome: RuleOutcome
    value: float | None
    limit: float | None
    low: float | None = None
    high: float | None = None
    sentence: str
    rows_needed: int | None = None


class Verdict(StrEnum):
    """What is decided about the model."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    BLOCKED = "BLOCKED"


class DecisionRecord(Record):
    """The verdict and every reason for it."""

    asset: ClassVar[str] = "deployment_decision"

    verdict: Verdict
    sentence: str
    rules: tuple[RuleResult, ...]
    auto_deploy: bool
    deploys: bool
    next_steps: tuple[str, ...]


class ProductionRecord(Record):
    """Where production points after the run."""

    asset: ClassVar[str] = "production_model"

    moved: bool
    sentence: str
    before: ProductionVersion | None
    after: ProductionVersion | None


class PredictionsRecord(Record):
    """What the model in production said to the rows of ``data.predict_path``.

    ``file`` is relative to the production directory; ``rows`` counts those that got a label,
    ``rows_unusable`` those that had no text to label.
    """

    asset: ClassVar[str] = "predictions"

    version: str
    source: str
    file: str
    rows: int
    rows_unusable: int = 0
    label_rows: dict[str, int]
    seconds: float
    rows_per_second: float


# --- registries ---------------------------------------------------------------------------------


class RegistryRecord(Record):
    """This run's line."""

    asset: ClassVar[str] = "experiment_registry"

    file: str
    line: str
    lines_before: int


class DebtChange(Record):
    """One item that this run wrote to the tech-debt registry."""

    number: int
    description: str
    impact: str
    change: str


class TechDebtRecord(Record):
    """New, repeated and resolved items."""

    asset: ClassVar[str] = "tech_debt_registry"

    file: str
    changes: tuple[DebtChange, ...]

    def numbers(self, change: str) -> list[str]:
        """The items with ``change`` (new, repeated, resolved), as ``TD-NNN``."""
        return [f"TD-{item.number:03d}" for item in self.changes if item.change == change]


class ReportRecord(Record):
    """The report and its pictures."""

    asset: ClassVar[str] = "deployment_report"

    file: str
    html_file: str
    pictures: tuple[str, ...]
    sentence: str
