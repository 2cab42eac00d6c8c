"""The life of a run, from opening an experiment to its last registry line.

opening.py  a new experiment: directory, report name, environment, earlier runs
stage.py    one stage: lock, clock, record, failure; and the stages left of a stopped run
closing.py  registry line, tech debt and report, however the run ends

`MADE_FROM` below is the order of the graph, and the only place where it is written. The `deps` of
the assets, the stages that a resumed run has left and the records that a re-run stage invalidates
all come from it. The report depends on every other stage because `--select +deployment_report`
takes one layer of the graph only: the report and its direct dependencies.
"""

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
    """All assets downstream of ``asset``: re-running it invalidates them."""
    direct = {name for name, sources in MADE_FROM.items() if asset in sources}
    return direct.union(*(dependants(name) for name in direct))
