"""What earlier runs found: their records where they are still there, else their registry line."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from mlrun_assets.errors import MlrunError
from mlrun_assets.experiment_store import Experiment
from mlrun_assets.records import (
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    PriorRun,
    RunLine,
    TrainingPlan,
)


def collect_prior_runs(
    experiments: Iterable[Experiment], lines: Iterable[RunLine]
) -> tuple[PriorRun, ...]:
    """Earlier runs, the newest first; those known only by their line come last.

    An experiment whose records can't be read (another version wrote them) counts by its line.
    """
    registered = {line.report: line for line in lines}
    runs = []
    for experiment in experiments:
        try:
            run = _from_records(experiment, registered)
        except MlrunError:
            continue
        registered.pop(run.report, None)
        runs.append(run)
    known_by_line = [
        PriorRun(report=line.report, status=line.status, summary=line.summary)
        for line in reversed(registered.values())
    ]
    return (*runs, *known_by_line)


def _from_records(experiment: Experiment, registered: dict[str, RunLine]) -> PriorRun:
    manifest = experiment.manifest
    dataset = experiment.find(DatasetRecord)
    plan = experiment.find(TrainingPlan)
    checkpoint = experiment.find(CheckpointRecord)
    evaluation = experiment.find(EvaluationRecord)
    decision = experiment.find(DecisionRecord)
    line = registered.get(manifest.report)
    return PriorRun(
        report=manifest.report,
        status=manifest.status,
        experiment=experiment.id,
        summary=line.summary if line else "",
        created_at=manifest.created_at,
        labels=dataset.labels if dataset else (),
        data_name=dataset.name if dataset else None,
        data_digest=dataset.digest if dataset else None,
        test_digest=dataset.splits["test"].source_digest if dataset else None,
        recipe_digest=plan.recipe_digest if plan else None,
        recipe_summary=recipe_summary(plan) if plan else None,
        comparable_digest=plan.recipe.comparable_digest if plan else None,
        learning_rate=plan.recipe.learning_rate if plan else None,
        val_digest=dataset.splits["val"].source_digest if dataset else None,
        val_f1_macro=_val_f1_macro(checkpoint) if checkpoint else None,
        verdict=decision.verdict if decision else None,
        verdict_reason=decision.sentence if decision else None,
        accuracy=evaluation.test.accuracy.value if evaluation else None,
        f1=evaluation.f1.value if evaluation else None,
    )


def _val_f1_macro(checkpoint: CheckpointRecord) -> float:
    """That of the best epoch, as a mean over the seeds: the best of many would flatter a recipe."""
    if checkpoint.seeds:
        return fmean(seed.val_f1_macro for seed in checkpoint.seeds)
    return max(epoch.val_f1_macro for epoch in checkpoint.history)


def recipe_summary(plan: TrainingPlan) -> str:
    """A plan in a few words."""
    recipe, seeds = plan.recipe, [each.seed for each in plan.recipes]
    return (
        f"{recipe.encoder}, {recipe.epochs} epochs, batch {recipe.batch_size}, learning rate "
        f"{recipe.learning_rate:g}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )
