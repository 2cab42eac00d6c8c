"""What flows between the stages: one frozen record a stage, kept as JSON in the experiment.

Numbers carry their unit in the name; scores and shares are fractions between 0 and 1. Paths in a
record are relative to the experiment's directory, so that an experiment can be moved.

Imports go down this list, never up:

    experiment.py  an experiment's identity and state, what it ran on, and what was before it
    data.py        the validated dataset and its checks
    plan.py        the recipe, and why it is this one
    training.py    the trained checkpoint, and how its training went
    baseline.py    what an n-gram model reaches
    evaluation.py  how the checkpoint does on the test split
    comparison.py  one model against another on the same rows
    calibration.py how far probabilities can be believed
    scores.py      the scores of one model
    export.py      what would be deployed
    decision.py    the rules and the verdict
    production.py  the model in production, and what it predicts
    registries.py  the run's line, its tech debt, its report
    record.py      what all records share: frozen, strict, loaded and saved
"""

from mlrun_assets.records.baseline import BaselineCandidate, BaselineRecord
from mlrun_assets.records.calibration import Calibration, ErrorByChance, ReliabilityBin
from mlrun_assets.records.comparison import Comparison, PartComparison
from mlrun_assets.records.data import (
    SPLITS,
    Bound,
    CheckOutcome,
    DatasetRecord,
    QualityCheck,
    Severity,
    SourceFile,
    SplitProfile,
    UnlabelledTexts,
)
from mlrun_assets.records.decision import DecisionRecord, RuleOutcome, RuleResult, Verdict
from mlrun_assets.records.evaluation import EvaluationRecord, LabelNext, TestUse
from mlrun_assets.records.experiment import (
    Environment,
    ExperimentRecord,
    Manifest,
    PriorRun,
    StageRun,
    Status,
)
from mlrun_assets.records.export import MIN_AGREEMENT, ExportRecord, OnnxExport
from mlrun_assets.records.plan import Advice, Choice, Recipe, TrainingPlan
from mlrun_assets.records.production import PredictionsRecord, ProductionRecord, ProductionVersion
from mlrun_assets.records.record import Record, timestamp
from mlrun_assets.records.registries import (
    DebtChange,
    DebtItem,
    RegistryRecord,
    ReportRecord,
    RunLine,
    TechDebtRecord,
)
from mlrun_assets.records.run import RunRecords
from mlrun_assets.records.scores import (
    MIN_ROWS_JUDGED,
    ClassScores,
    Score,
    Scores,
    SeedScores,
    SeedSpread,
    SliceScores,
    Spread,
)
from mlrun_assets.records.training import (
    CheckpointRecord,
    EnsembleRecord,
    EpochMetrics,
    PretrainingRecord,
    SeedResult,
    VocabularyTrim,
)

__all__ = [
    "MIN_AGREEMENT",
    "MIN_ROWS_JUDGED",
    "SPLITS",
    "Advice",
    "BaselineCandidate",
    "BaselineRecord",
    "Bound",
    "Calibration",
    "CheckOutcome",
    "CheckpointRecord",
    "Choice",
    "ClassScores",
    "Comparison",
    "DatasetRecord",
    "DebtChange",
    "DebtItem",
    "DecisionRecord",
    "EnsembleRecord",
    "Environment",
    "EpochMetrics",
    "ErrorByChance",
    "EvaluationRecord",
    "ExperimentRecord",
    "ExportRecord",
    "LabelNext",
    "Manifest",
    "OnnxExport",
    "PartComparison",
    "PredictionsRecord",
    "PretrainingRecord",
    "PriorRun",
    "ProductionRecord",
    "ProductionVersion",
    "QualityCheck",
    "Recipe",
    "Record",
    "RegistryRecord",
    "ReliabilityBin",
    "ReportRecord",
    "RuleOutcome",
    "RuleResult",
    "RunLine",
    "RunRecords",
    "Score",
    "Scores",
    "SeedResult",
    "SeedScores",
    "SeedSpread",
    "Severity",
    "SliceScores",
    "SourceFile",
    "SplitProfile",
    "Spread",
    "StageRun",
    "Status",
    "TechDebtRecord",
    "TestUse",
    "TrainingPlan",
    "UnlabelledTexts",
    "Verdict",
    "VocabularyTrim",
    "timestamp",
]
