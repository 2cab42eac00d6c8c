"""What earlier runs say to this one; test scores choose nothing here."""

from __future__ import annotations

from mlrun_assets.records import PriorRun, Recipe, Verdict
from mlrun_assets.stages.plan.choosing import Ruling
from mlrun_assets.stages.plan.situation import Situation

MOST_REJECTED = 5
NOT_APPROVED = (Verdict.REJECTED, Verdict.INCONCLUSIVE)


def best_learning_rate(situation: Situation, recipe: Recipe) -> Ruling | None:
    """The rate with the best val macro-F1, where earlier runs have tried more than one.

    They count when they chose on this val split, and trained by ``recipe`` in all but the rate: a
    short trial, or another encoder under the same name, says nothing of a rate.
    """
    best: dict[float, tuple[float, str]] = {}
    for run in _on_this_data(situation):
        comparable = (
            run.comparable_digest == recipe.comparable_digest
            and run.val_digest == situation.dataset.splits["val"].source_digest
        )
        if comparable and run.learning_rate is not None and run.val_f1_macro is not None:
            known = best.get(run.learning_rate)
            if known is None or run.val_f1_macro > known[0]:
                best[run.learning_rate] = (run.val_f1_macro, run.report)
    if len(best) < 2:
        return None
    rate, *others = sorted(best, key=lambda each: -best[each][0])
    f1, report = best[rate]
    listed = ", ".join(f"{other:g}: {best[other][0]:.3f}" for other in others)
    return Ruling(
        rate,
        "the best on val of the learning rates that earlier runs on this data have tried",
        f"val macro-F1 {f1:.3f} in {report}; {listed}",
        source="earlier run",
    )


def seen_before(situation: Situation, recipe: str) -> tuple[str, ...]:
    """The earlier runs of the same recipe on the same data, with their results."""
    return tuple(
        f"{run.report}: the same recipe on the same data gave {run.summary or 'no metrics'}"
        for run in _same_runs(situation, recipe)
    )


def reusable_run(situation: Situation, recipe: str) -> str | None:
    """The newest experiment whose checkpoint is to be taken; None: none, or not asked for."""
    if not situation.config.training.reuse:
        return None
    for run in _same_runs(situation, recipe):
        trained = run.val_f1_macro is not None
        if run.experiment and trained and run.labels == situation.dataset.labels:
            return run.experiment
    return None


def rejected_recipes(situation: Situation) -> tuple[str, ...]:
    """Earlier recipes on this data that were not approved, and why; the newest few."""
    rejected = [run for run in _on_this_data(situation) if run.verdict in NOT_APPROVED]
    return tuple(
        f"{run.report}: {run.verdict}, with {run.recipe_summary or 'a recipe that is not known'}: "
        f"{run.verdict_reason or run.summary or 'no reason is recorded'}"
        for run in rejected[:MOST_REJECTED]
    )


def _same_runs(situation: Situation, recipe: str) -> list[PriorRun]:
    data = situation.dataset.digest
    return [
        run
        for run in situation.prior_runs
        if run.recipe_digest == recipe and run.data_digest == data
    ]


def _on_this_data(situation: Situation) -> list[PriorRun]:
    name = situation.dataset.name
    return [run for run in situation.prior_runs if name is not None and run.data_name == name]
