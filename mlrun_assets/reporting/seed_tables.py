"""The table of the seeds: how much of a score is luck."""

from __future__ import annotations

from mlrun_assets.records import CheckpointRecord, EvaluationRecord, SeedScores
from mlrun_assets.reporting.escaping import Markdown
from mlrun_assets.reporting.formats import NOTHING, number, score, seconds, spread
from mlrun_assets.reporting.tables import table

_HEADER = (
    "seed",
    ">best epoch",
    ">time",
    ">val accuracy",
    ">val macro-F1",
    ">test accuracy",
    ">test macro-F1",
    ">test weighted-F1",
)


def seeds_table(checkpoint: CheckpointRecord, evaluation: EvaluationRecord | None) -> Markdown:
    """Each seed on val, and on test where it was evaluated, with mean ± standard deviation."""
    scores = {one.seed: one for one in evaluation.seeds} if evaluation else {}
    rows = [
        [
            _seed_name(one.seed, checkpoint),
            number(one.best_epoch),
            seconds(one.seconds),
            score(one.val_accuracy),
            score(one.val_f1_macro),
            *_test_cells(scores.get(one.seed)),
        ]
        for one in checkpoint.seeds
    ]
    if evaluation and evaluation.over_seeds:
        over = evaluation.over_seeds
        spreads = [spread(each) for each in (over.accuracy, over.f1_macro, over.f1_weighted)]
        rows.append([Markdown("mean ± sd"), *[NOTHING] * 4, *spreads])
    return table(_HEADER, rows)


def _seed_name(seed: int, checkpoint: CheckpointRecord) -> Markdown:
    return Markdown(f"**{seed}** (kept)" if seed == checkpoint.seed else str(seed))


def _test_cells(scores: SeedScores | None) -> list[Markdown]:
    if scores is None:
        return [NOTHING] * 3
    return [score(one) for one in (scores.accuracy, scores.f1_macro, scores.f1_weighted)]
