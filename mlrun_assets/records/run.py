"""All that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mlrun_assets.records.baseline import BaselineRecord
from mlrun_assets.records.data import DatasetRecord
from mlrun_assets.records.decision import DecisionRecord
from mlrun_assets.records.evaluation import EvaluationRecord
from mlrun_assets.records.experiment import ExperimentRecord, Manifest
from mlrun_assets.records.export import ExportRecord
from mlrun_assets.records.plan import TrainingPlan
from mlrun_assets.records.production import ProductionRecord
from mlrun_assets.records.registries import RegistryRecord, TechDebtRecord
from mlrun_assets.records.training import CheckpointRecord


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
