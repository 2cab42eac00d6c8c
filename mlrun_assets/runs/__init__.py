"""The life of a run, from opening an experiment to the deployment of its model.

opening.py    a new experiment: directory, report name, environment, earlier runs
stage.py      one stage: lock, clock, record, failure; and the stages left of a stopped run
closing.py    registry line, tech debt and report, however the run ends and production moves
promotion.py  promote an experiment or roll back, and update what reports it

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

REPORT = ReportRecord.asset
_GRAPH: tuple[tuple[type[Record], tuple[str, ...]], ...] = (
    (ExperimentRecord, ()),
    (DatasetRecord, ("experiment",)),
    (TrainingPlan, ("experiment", "validated_dataset")),
    (BaselineRecord, ("validated_dataset", "training_plan")),
    (CheckpointRecord, ("validated_dataset", "training_plan", "baseline_metrics")),
    (EvaluationRecord, ("validated_dataset", "baseline_metrics", "trained_checkpoint")),
    (ExportRecord, ("trained_checkpoint",)),
    (DecisionRecord, ("baseline_metrics", "evaluation_metrics", "exported_model")),
    (ProductionRecord, ("evaluation_metrics", "exported_model", "deployment_decision")),
    (RegistryRecord, ("evaluation_metrics", "deployment_decision", "production_model")),
    (TechDebtRecord, ("validated_dataset", "evaluation_metrics", "deployment_decision")),
)
MADE_FROM = {record.asset: sources for record, sources in _GRAPH}
MADE_FROM[REPORT] = tuple(MADE_FROM)
STAGE_RECORDS = {record.asset: record for record, _ in _GRAPH} | {REPORT: ReportRecord}


def dependants(asset: str) -> set[str]:
    """All assets downstream of ``asset``: re-running it invalidates them."""
    direct = {name for name, sources in MADE_FROM.items() if asset in sources}
    return direct.union(*(dependants(name) for name in direct))
