"""Markdown tables and lists; tables about the run: prior runs, cost, digests, export, seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlrun_assets.records import (
    CheckpointRecord,
    DebtChange,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    Manifest,
    PriorRun,
    RunRecords,
    SeedScores,
    Status,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    Markdown,
    code,
    digest,
    escape,
    joined,
    megabytes,
    number,
    percent,
    prose,
    score,
    seconds,
    spread,
)

CELL_LIMIT = 240


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A GitHub table, without a newline at its end.

    Args:
        header: the columns' names; one that starts with ``>`` is aligned to the right.
        rows: their cells; a string that is not `Markdown` is escaped and cut at `CELL_LIMIT`.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    rule = ["---:" if name.startswith(">") else "---" for name in header]
    lines = [_line([escape(name.removeprefix(">")) for name in header]), _line(rule)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} columns: {row}")
        lines.append(_line([escape(cell, CELL_LIMIT) for cell in row]))
    return Markdown("\n".join(lines))


def bullets(items: Iterable[str]) -> Markdown:
    """A list with one sentence per item."""
    return Markdown("\n".join(f"- {prose(item)}" for item in items))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


MOST_RUNS = 5
_RUNS_HEADER = (
    "run",
    "status",
    "verdict",
    ">accuracy",
    ">F1",
    "test split",
    "data",
    "recipe or summary",
)
_DATE_OF_REPORT = re.compile(r"(\d{8})(?:-\d+)?(?:\.md)?$")


def last_runs(experiment: ExperimentRecord) -> list[PriorRun]:
    """The latest earlier runs, newest first."""
    return sorted(experiment.prior_runs, key=_when, reverse=True)[:MOST_RUNS]


def _when(run: PriorRun) -> str:
    if run.created_at:
        return run.created_at.replace("-", "")
    date = _DATE_OF_REPORT.search(run.report)
    return date[1] if date else ""


@dataclass(frozen=True)
class _Ours:
    """Digests of this run that prior runs are compared with; None if not known."""

    test: str | None = None
    data: str | None = None
    recipe: str | None = None


def runs_table(runs: Iterable[PriorRun]) -> Markdown:
    """Prior runs, without a comparison."""
    return table(_RUNS_HEADER, ([run.report, *_prior_cells(run, _Ours())] for run in runs))


def prior_runs_table(records: RunRecords, experiment: ExperimentRecord) -> Markdown:
    """This run and the last ones, and whether test split, data and recipe are the same."""
    ours = _ours(records)
    this = [
        Markdown("**this run**"),
        str(records.manifest.status),
        str(records.decision.verdict) if records.decision else NOTHING,
        score(records.evaluation.test.accuracy.value if records.evaluation else None),
        score(records.evaluation.f1.value if records.evaluation else None),
        *(digest(value) if value else NOTHING for value in (ours.test, ours.data, ours.recipe)),
    ]
    rows = [
        [_marked(run, experiment.best_run), *_prior_cells(run, ours)]
        for run in last_runs(experiment)
    ]
    return table(_RUNS_HEADER, [this, *rows])


def _ours(records: RunRecords) -> _Ours:
    splits = records.dataset.splits if records.dataset else {}
    return _Ours(
        test=splits["test"].source_digest if "test" in splits else None,
        data=records.dataset.digest if records.dataset else None,
        recipe=records.plan.recipe_digest if records.plan else None,
    )


def _marked(run: PriorRun, best: str | None) -> Markdown:
    return Markdown(f"{escape(run.report)}{' (best)' if run.report == best else ''}")


def _prior_cells(run: PriorRun, ours: _Ours) -> list[str]:
    recipe = _same(run.recipe_digest, ours.recipe)
    if run.recipe_summary and run.recipe_digest != ours.recipe:
        recipe = escape(run.recipe_summary)
    elif run.summary and run.accuracy is None:
        recipe = escape(run.summary)
    return [
        run.status,
        run.verdict or NOTHING,
        score(run.accuracy),
        score(run.f1),
        _same(run.test_digest, ours.test),
        _same(run.data_digest, ours.data),
        recipe,
    ]


def _same(theirs: str | None, ours: str | None) -> Markdown:
    if theirs is None:
        return NOTHING
    return Markdown("the same") if theirs == ours else digest(theirs)


def cost_table(manifest: Manifest) -> Markdown:
    """Time and memory of each stage; unfinished stages only if the run is not complete."""
    complete = manifest.status is Status.COMPLETE
    return table(
        ["stage", "status", ">wall time", ">CPU time", ">peak memory MB"],
        (
            [
                code(name),
                stage.status,
                seconds(stage.seconds),
                seconds(stage.cpu_seconds),
                number(round(stage.peak_memory_mb) if stage.peak_memory_mb else None),
            ]
            for name, stage in manifest.stages.items()
            if stage.seconds is not None or not complete
        ),
    )


def debt_table(changes: Iterable[DebtChange]) -> Markdown:
    """The items of the tech-debt registry that this run wrote."""
    return table(
        ["item", "change", "impact", "description"],
        ([f"TD-{one.number:03d}", one.change, one.impact, one.description] for one in changes),
    )


def digests_table(records: RunRecords) -> Markdown:
    """Digests of inputs and results."""
    made = {
        "config": records.experiment and records.experiment.config_digest,
        "validated dataset": records.dataset and records.dataset.digest,
        "recipe": records.plan and records.plan.recipe_digest,
        "test split as evaluated": records.evaluation and records.evaluation.test_digest,
        "trained checkpoint": records.checkpoint and records.checkpoint.digest,
        "exported model": records.export and records.export.digest,
    }
    inputs = records.manifest.inputs.items()
    rows = [[Markdown(f"{escape(name)} file"), digest(value)] for name, value in inputs]
    rows += [[Markdown(name), digest(value)] for name, value in made.items() if value]
    return table(["file or result", "SHA-256 (first 12 digits)"], rows)


def versions(experiment: ExperimentRecord) -> Markdown:
    """Packages with their versions, on one line."""
    packages = experiment.environment.packages.items()
    return joined(f"{name} {version}" for name, version in packages)


HEADINGS = [
    "form",
    "in the directory",
    ">size",
    ">loads in",
    ">median latency ms",
    ">p95 latency ms",
    ">rows/s of 64",
    ">agreement",
    ">val macro-F1",
]


def forms_table(export: ExportRecord) -> Markdown:
    """The transformers form and each ONNX form that was tried; latency for one text."""
    transformers = [
        Markdown("transformers"),
        Markdown("yes"),
        megabytes(export.size_bytes),
        seconds(export.load_seconds),
        number(export.latency_ms_p50),
        number(export.latency_ms_p95),
        number(round(export.rows_per_second, 1)),
        percent(export.agreement),
        score(None),
    ]
    others = [
        [
            Markdown(f"ONNX {escape(form.precision)}"),
            Markdown("yes" if form.kept else "no"),
            megabytes(form.size_bytes),
            seconds(form.load_seconds),
            number(form.latency_ms_p50),
            number(form.latency_ms_p95),
            number(round(form.rows_per_second, 1)),
            percent(form.agreement),
            score(form.val_f1_macro),
        ]
        for form in export.onnx
    ]
    return table(HEADINGS, [transformers, *others])


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
    """Scores of each seed on val and, if evaluated, on test, with mean ± standard deviation."""
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
