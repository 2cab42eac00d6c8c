"""What of a run goes to MLflow: parameters, metrics with the bounds of their intervals, files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlrun_assets.experiment_store import Experiment
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    Scores,
    TrainingPlan,
)
from mlrun_assets.stages.registry import report_file

# MLflow cuts longer values.
VALUE_CHARACTERS = 500
Point = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""
EXPERIMENT_TAG = "mlrun.experiment"


def run_tags(experiment: Experiment) -> dict[str, str]:
    """What the run is called here, and how it stands."""
    manifest, decision = experiment.manifest, experiment.find(DecisionRecord)
    tags = {EXPERIMENT_TAG: experiment.id, "mlrun.report": manifest.report}
    verdict = {"mlrun.verdict": str(decision.verdict)} if decision else {}
    return {**tags, "mlrun.status": str(manifest.status), **verdict}


def run_params(experiment: Experiment) -> dict[str, str]:
    """What the run was made with: the recipe and the data."""
    params: dict[str, object] = {}
    plan, dataset = experiment.find(TrainingPlan), experiment.find(DatasetRecord)
    if plan:
        params |= plan.recipe.model_dump() | {"recipe_digest": plan.recipe_digest}
        params["seeds"] = [recipe.seed for recipe in plan.recipes]
    if dataset:
        params |= {"data": dataset.name, "data_digest": dataset.digest}
        params |= {f"{name}_rows": split.rows_kept for name, split in dataset.splits.items()}
    return {name: str(value)[:VALUE_CHARACTERS] for name, value in params.items()}


def run_metrics(experiment: Experiment, told: Mapping[str, float]) -> list[Point]:
    """Scores of all models, what the export takes, and the training history by its steps.

    What was ``told`` before is left out where it is still so; the history is told once.
    """
    now = int(time.time() * 1000)
    points = [
        (name, float(value), now, 0)
        for name, value in _numbers(experiment)
        if told.get(name) != value
    ]
    checkpoint = experiment.find(CheckpointRecord)
    for epoch in checkpoint.history if checkpoint else ():
        for name in ("train_loss", "val_loss", "val_accuracy", "val_f1_macro"):
            value = getattr(epoch, name)
            if value is not None and f"history_{name}" not in told:
                points.append((f"history_{name}", float(value), now, epoch.step))
    return points


def _numbers(experiment: Experiment) -> Iterator[tuple[str, float]]:
    evaluation, baseline = experiment.find(EvaluationRecord), experiment.find(BaselineRecord)
    export, checkpoint = experiment.find(ExportRecord), experiment.find(CheckpointRecord)
    if evaluation:
        yield from _scores("test", evaluation.test)
        yield from _scores("val", evaluation.val)
        yield "test_calibration_error", evaluation.calibration_error
    if baseline:
        yield from _scores("baseline_test", baseline.linear)
    if checkpoint:
        yield "training_seconds", checkpoint.seconds
        yield "training_tokens_per_second", checkpoint.tokens_per_second
        yield "training_peak_memory_mb", checkpoint.peak_memory_mb
    if export:
        yield "export_agreement", export.agreement
        yield "export_size_bytes", export.size_bytes
        yield "export_latency_ms_p95", export.latency_ms_p95


def _scores(prefix: str, scores: Scores) -> Iterator[tuple[str, float]]:
    for name in ("accuracy", "f1_macro", "f1_weighted"):
        score = getattr(scores, name)
        yield f"{prefix}_{name}", score.value
        yield f"{prefix}_{name}_low", score.low
        yield f"{prefix}_{name}_high", score.high
    yield f"{prefix}_mcc", scores.mcc


def run_artefacts(experiment: Experiment, reports_dir: Path) -> Iterator[tuple[Path, str | None]]:
    """The report, the config, records and pictures, each with the folder that it goes to."""
    page = report_file(reports_dir, experiment.manifest.report).with_suffix(".html")
    paths = experiment.paths
    for file in (paths.report, page, paths.config):
        if file.is_file():
            yield file, None
    for folder in (paths.records, paths.plots):
        for file in sorted(folder.glob("*.*")):
            yield file, folder.name
