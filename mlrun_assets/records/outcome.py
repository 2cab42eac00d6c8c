"""What the test split says about the checkpoint."""

from __future__ import annotations

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
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    TrainingPlan,
)


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


class LookCount(Record):
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

    Of ``candidates`` rows of ``split`` (``unlabelled``, or ``val`` where there are none) ``rows``
    are listed; ``doubted`` of these have a label that no model gives.
    """

    split: str
    candidates: int
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
    rows_per_second: float
    seeds: tuple[SeedScores, ...] = ()
    over_seeds: SeedSpread | None = None
    calibration: Calibration | None = None
    test_use: LookCount | None = None
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
    nothing to settle, or no number of rows would. ``scarce_label`` is the label that has too few of
    them for any number of the others to tell.
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
    deploys: bool
    next_steps: tuple[str, ...]


MIN_AGREEMENT = 0.995
"""Share of rows on which an exported form must give the checkpoint's label."""


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
    rows_per_second: float
    onnx: tuple[OnnxExport, ...] = ()
    onnx_left_out: tuple[str, ...] = ()

    @property
    def kept_onnx(self) -> OnnxExport | None:
        """The ONNX form that lies in the directory; None: there is none."""
        return next((form for form in self.onnx if form.kept), None)


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

    @property
    def exported(self) -> str:
        """The digest of the files that the experiment exported."""
        return self.export_digest or self.digest

    def is_export(self, experiment: str, digest: str) -> bool:
        """Whether it is what an experiment exported: one may have exported several models."""
        return (self.experiment, self.exported) == (experiment, digest)


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
    file: str
    rows: int
    rows_unusable: int = 0
    label_rows: dict[str, int]
    seconds: float
    rows_per_second: float


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """The records of one experiment; None: the run ended before that stage had finished.

    ``config_yaml`` is the config as resolved, every default spelled out.
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
    def serves(self) -> bool:
        """Whether the exported model is the one in production, as far as the run was told."""
        export, serving = self.export, self.production.after if self.production else None
        return bool(export and serving and serving.is_export(self.manifest.id, export.digest))
