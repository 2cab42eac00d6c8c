"""All that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mlrun_assets.experiment_store import Experiment
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    Manifest,
    ProductionRecord,
    RegistryRecord,
    TechDebtRecord,
    TrainingPlan,
)


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


def run_records(manifest: Manifest, experiment: Experiment) -> RunRecords:
    """All that is recorded of a run; what it did not come to, or can't be read, is left out."""
    return RunRecords(
        manifest=manifest,
        config_yaml=experiment.paths.config.read_text(encoding="utf-8"),
        experiment=experiment.find(ExperimentRecord),
        dataset=experiment.find(DatasetRecord),
        plan=experiment.find(TrainingPlan),
        baseline=experiment.find(BaselineRecord),
        checkpoint=experiment.find(CheckpointRecord),
        evaluation=experiment.find(EvaluationRecord),
        export=experiment.find(ExportRecord),
        decision=experiment.find(DecisionRecord),
        production=experiment.find(ProductionRecord),
        registry=experiment.find(RegistryRecord),
        tech_debt=experiment.find(TechDebtRecord),
    )
