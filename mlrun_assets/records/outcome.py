"""The evaluation, the decision, the export and production; all records of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from mlrun_assets.records.experiment import (
    ExperimentRecord,
    Manifest,
    Record,
    RegistryRecord,
    Score,
    Scores,
    SeedScores,
    SeedSpread,
    SliceScores,
    Spread,
    TechDebtRecord,
)
from mlrun_assets.records.training import (
    Acceptance,
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    TrainingPlan,
)

_REPORT_NAME = re.compile(r"impl-ml-run-(.+)-\d{8}(?:-\d+)?")


class SliceComparison(Record):
    """Recall of both models on one label, or their accuracy on one slice of the test split.

    On a slice ``recall`` is the share of correct rows. ``loss`` is the recall of the other model
    minus that of the challenger, with its paired interval.
    """

    name: str
    rows: int
    recall: float
    other_recall: float
    loss: Score


class Comparison(Record):
    """The challenger against one other model on the same rows.

    Where the models can't be compared, or are ``identical`` and need not be, ``reason`` says so and
    the numbers are None. The intervals of ``labels`` and ``slices`` have ``joint_confidence``:
    together they have the confidence of the evaluation (Bonferroni).
    """

    against: str
    comparable: bool
    identical: bool = False
    reason: str
    rows: int
    other_f1: Score | None = None
    other_accuracy: Score | None = None
    f1_difference: Score | None = None
    accuracy_difference: float | None = None
    only_challenger_right: int | None = None
    only_other_right: int | None = None
    mcnemar_p: float | None = None
    labels: tuple[SliceComparison, ...] = ()
    slices: tuple[SliceComparison, ...] = ()
    joint_confidence: float | None = None


class ReliabilityBin(Record):
    """Rows whose confidence is in one bin: mean confidence, and accuracy with Wilson's interval."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


class ErrorByChance(Record):
    """Calibration error of a perfectly calibrated model on as many rows, with the same confidence.

    ``p95`` is the 95th percentile over test splits.
    """

    mean: float
    p95: float


class Calibration(Record):
    """How well the probabilities of the deployed model are calibrated on test.

    ``error`` is the expected calibration error, ``brier`` the Brier score summed over the labels
    (0 to 2), ``chance`` the error that is due to the number of rows.
    """

    error: float
    brier: float
    bins: tuple[ReliabilityBin, ...]
    chance: ErrorByChance


class AcceptedRows(Record):
    """The test rows whose confidence is at least ``confidence``.

    ``coverage`` is their share, ``precision`` the share of them with the right label, None if there
    are none. The intervals are Wilson's.
    """

    confidence: float
    rows: int
    coverage: Score
    precision: Score | None


class JudgedAcceptance(Record):
    """What was ``shown`` without the test split, and what it is on ``test``."""

    shown: Acceptance
    test: AcceptedRows | None


class LookCount(Record):
    """How many models were judged on this test split, this one included.

    ``confidence`` is that of the intervals after the correction for ``looks``.
    """

    looks: int
    max_looks: int
    confidence: float

    @property
    def used_up(self) -> bool:
        """Whether more models were judged than ``max_looks``: the intervals widen."""
        return self.looks > self.max_looks


class LabelNext(Record):
    """Rows that a person should label next, listed in ``label_next_file``.

    ``rows`` of the ``candidates`` in ``split`` are listed. The split is ``unlabelled``, or ``val``
    if there are no unlabelled texts. ``doubted`` listed rows have a label that no model predicts.
    """

    split: str
    candidates: int
    rows: int
    doubted: int


class EvaluationRecord(Record):
    """Scores of the checkpoint on val and test, and of each seed where several were trained.

    ``chosen`` is the name of the candidate. ``test_without_leaks`` leaves out the test rows that
    another split contains; None if there are none. ``coverage_curve`` has accepted rows from few to
    all.
    """

    asset: ClassVar[str] = "evaluation_metrics"

    chosen: str
    test_digest: str
    labels: tuple[str, ...]
    f1_kind: str
    confidence: float
    val: Scores
    test: Scores
    test_without_leaks: Scores | None = None
    slices: tuple[SliceScores, ...]
    baseline: Comparison
    production: Comparison | None
    predictions_file: str
    rows_per_second: float
    seeds: tuple[SeedScores, ...] = ()
    over_seeds: SeedSpread | None = None
    calibration: Calibration
    acceptance: tuple[JudgedAcceptance, ...] = ()
    coverage_curve: tuple[AcceptedRows, ...] = ()
    test_looks: LookCount
    label_next_file: str
    label_next: LabelNext

    @property
    def f1(self) -> Score:
        """The F1 that the thresholds and comparisons use: macro or weighted."""
        return self.test.f1_macro if self.f1_kind == "macro" else self.test.f1_weighted

    @property
    def f1_over_seeds(self) -> Spread | None:
        """That F1 over the seeds; None if only one was trained."""
        spread = self.over_seeds
        if spread is None:
            return None
        return spread.f1_macro if self.f1_kind == "macro" else spread.f1_weighted


class RuleOutcome(StrEnum):
    """The outcome of one rule of the decision."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"
    OFF = "off"


class RuleResult(Record):
    """One rule: the value it compared, the limit and the outcome.

    ``rows_needed`` is the number of test rows that would settle an inconclusive rule; None if no
    number would. ``scarce_label`` is the label whose few rows keep the rule inconclusive.
    ``remedy`` says what to do where that depends on the scores.
    """

    rule: str
    outcome: RuleOutcome
    value: float | None
    limit: float | None
    low: float | None = None
    high: float | None = None
    sentence: str
    rows_needed: int | None = None
    scarce_label: str | None = None
    remedy: str | None = None


class Verdict(StrEnum):
    """The decision about the model."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    UNCHANGED = "UNCHANGED"
    BLOCKED = "BLOCKED"


class DecisionRecord(Record):
    """The verdict and every reason for it.

    ``promotion`` is the one of ``next_steps`` with which a person deploys the model; empty if there
    is none. ``same_as`` is the version in production if its exported files are the same.
    """

    asset: ClassVar[str] = "deployment_decision"

    verdict: Verdict
    sentence: str
    rules: tuple[RuleResult, ...]
    deploys: bool
    next_steps: tuple[str, ...]
    promotion: str = ""
    same_as: str | None = None

    def steps_left(self, *, in_production: bool) -> list[str]:
        """The next steps, without a promotion of what is in production already."""
        return [step for step in self.next_steps if not in_production or step != self.promotion]


MIN_AGREEMENT = 0.995
"""Minimum share of rows on which an exported form gives the same label as the checkpoint."""


class OnnxExport(Record):
    """The ONNX form of the model in float32, measured in a process without torch.

    ``file`` is relative to the model's directory. ``size_bytes`` covers all files that serve it,
    ``agreement`` is the share of val rows with the checkpoint's label, ``latency_ms`` is for one
    text.
    """

    file: str
    size_bytes: int
    agreement: float
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float


class ExportRecord(Record):
    """The exported model, measured in fresh processes.

    The numbers are for the transformers form; ``rows_per_second`` is for 64 texts or more.
    ``onnx_reason`` says why an ONNX form was tried and left out.
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
    rows_per_second: float
    onnx: OnnxExport | None = None
    onnx_reason: str | None = None


class ProductionVersion(Record):
    """A model version that is, or was, in production.

    ``digest`` covers all files of its directory; ``export_digest`` covers the exported files
    without the model card, and is None if there is no card. ``text_columns`` and ``language`` say
    how its texts were prepared; None if the config of its experiment can't be read.
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

    @property
    def name(self) -> str:
        """The name of its experiment, a slug: production keeps it when the experiment is gone."""
        found = _REPORT_NAME.fullmatch(self.report)
        return found[1] if found else self.experiment

    @property
    def title(self) -> str:
        """The name with the version."""
        known = self.version.startswith(self.name)
        return self.version if known else f"{self.name} ({self.version})"

    @property
    def exported(self) -> str:
        """The digest of the files that the experiment exported."""
        return self.export_digest or self.digest

    def is_export(self, experiment: str, digest: str) -> bool:
        """Whether it is this export of the experiment, which may have exported several models."""
        return (self.experiment, self.exported) == (experiment, digest)


class ProductionRecord(Record):
    """Where production points after the run."""

    asset: ClassVar[str] = "production_model"

    moved: bool
    sentence: str
    before: ProductionVersion | None
    after: ProductionVersion | None


class PredictionsRecord(Record):
    """Labels that the production model gave to the rows of ``data.predict_path``.

    ``file`` is relative to the production directory. ``rows`` got a label, ``rows_skipped`` had no
    text. ``rows_accepted`` is None if the model has no confidence threshold.
    """

    asset: ClassVar[str] = "predictions"

    version: str
    file: str
    rows: int
    rows_skipped: int = 0
    rows_accepted: int | None = None
    label_rows: dict[str, int]
    seconds: float
    rows_per_second: float


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """The records of one experiment; None for a stage that did not finish.

    ``config_yaml`` is what the config sets in place of the defaults.
    """

    manifest: Manifest
    config_yaml: str
    experiment: ExperimentRecord | None = None
    dataset: DatasetRecord | None = None
    plan: TrainingPlan | None = None
    baseline: BaselineRecord | None = None
    checkpoint: CheckpointRecord | None = None
    evaluation: EvaluationRecord | None = None
    export: ExportRecord | None = None
    decision: DecisionRecord | None = None
    production: ProductionRecord | None = None
    registry: RegistryRecord | None = None
    tech_debt: TechDebtRecord | None = None

    @property
    def in_production(self) -> bool:
        """Whether the run's records show its exported model in production."""
        export, version = self.export, self.production.after if self.production else None
        return bool(export and version and version.is_export(self.manifest.id, export.digest))
