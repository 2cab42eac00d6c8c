"""The order of the graph: the stages, the stages that each one reads, and their records.

This table is the only one: the assets take their `deps` from it.
"""

from __future__ import annotations

from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    ProductionRecord,
    Record,
    RegistryRecord,
    ReportRecord,
    TechDebtRecord,
    TrainingPlan,
)

REPORT = "deployment_report"
MADE_FROM: dict[str, tuple[str, ...]] = {
    "experiment": (),
    "validated_dataset": ("experiment",),
    "training_plan": ("experiment", "validated_dataset"),
    "baseline_metrics": ("validated_dataset",),
    "trained_checkpoint": ("validated_dataset", "training_plan"),
    "evaluation_metrics": ("validated_dataset", "baseline_metrics", "trained_checkpoint"),
    "exported_model": ("trained_checkpoint",),
    "deployment_decision": ("baseline_metrics", "evaluation_metrics", "exported_model"),
    "production_model": ("evaluation_metrics", "exported_model", "deployment_decision"),
    "experiment_registry": ("evaluation_metrics", "deployment_decision", "production_model"),
    "tech_debt_registry": ("validated_dataset", "evaluation_metrics", "deployment_decision"),
}
# `--select +deployment_report` reaches one layer up only, so the report names every stage.
MADE_FROM[REPORT] = tuple(MADE_FROM)

STAGE_RECORDS: dict[str, type[Record]] = {
    kind.asset: kind
    for kind in (
        ExperimentRecord,
        DatasetRecord,
        TrainingPlan,
        BaselineRecord,
        CheckpointRecord,
        EvaluationRecord,
        ExportRecord,
        DecisionRecord,
        ProductionRecord,
        RegistryRecord,
        TechDebtRecord,
        ReportRecord,
    )
}


def dependants(asset: str) -> set[str]:
    """All assets that are made from ``asset``, directly or through others."""
    direct = {name for name, sources in MADE_FROM.items() if asset in sources}
    return direct.union(*(dependants(name) for name in direct))
