# mypy: implicit-reexport
# ruff: noqa: F401
"""Records that flow between the stages: one frozen record per stage, stored as JSON.

Units are part of the names; scores and shares are fractions between 0 and 1. Paths are relative to
the experiment's directory, so that it can be moved.

    experiment.py   the base class, the manifest, the opened experiment, scores, registry lines
    training.py     the validated dataset, the plan, the baseline, the trained checkpoint
    outcome.py      the evaluation, the export, the decision, production; all records of a run
"""

from mlrun_assets.records.experiment import (
    MIN_ROWS_JUDGED,
    ClassScores,
    DebtChange,
    DebtItem,
    Environment,
    ExperimentRecord,
    Manifest,
    PriorRun,
    Record,
    RegistryRecord,
    ReportRecord,
    RunLine,
    Score,
    Scores,
    SeedScores,
    SeedSpread,
    SliceScores,
    Spread,
    StageRun,
    Status,
    TechDebtRecord,
    timestamp,
)
from mlrun_assets.records.outcome import (
    MIN_AGREEMENT,
    AcceptedRows,
    Calibration,
    Comparison,
    DecisionRecord,
    ErrorByChance,
    EvaluationRecord,
    ExportRecord,
    JudgedAcceptance,
    LabelNext,
    LookCount,
    OnnxExport,
    PredictionsRecord,
    ProductionRecord,
    ProductionVersion,
    ReliabilityBin,
    RuleOutcome,
    RuleResult,
    RunRecords,
    SliceComparison,
    Verdict,
)
from mlrun_assets.records.training import (
    SHORT_TEXT_TOKENS,
    SPLITS,
    Acceptance,
    Advice,
    BaselineRecord,
    Bound,
    CandidateRecord,
    CheckOutcome,
    CheckpointRecord,
    Choice,
    DatasetRecord,
    EpochMetrics,
    FineTuningRecord,
    FrozenRecord,
    HelperRows,
    NgramCandidate,
    QualityCheck,
    Recipe,
    SeedResult,
    Severity,
    SourceFile,
    SplitProfile,
    TrainingPlan,
    UnlabelledTexts,
    VocabularyTrim,
)
