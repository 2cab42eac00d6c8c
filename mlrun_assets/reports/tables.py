"""Markdown tables and lists; tables about the run: prior runs, cost, digests, export, seeds."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from mlrun_assets.markdown import Markdown, clean, code, escape, joined, prose
from mlrun_assets.records import (
    BaselineRecord,
    CandidateRecord,
    CheckpointRecord,
    DebtChange,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    FineTuningRecord,
    Manifest,
    OnnxExport,
    PriorRun,
    RunRecords,
    Status,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    digest,
    integer,
    megabytes,
    number,
    percent,
    score,
    seconds,
    spread,
)

CELL_LIMIT = 240


def table(header: str | Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A GitHub table, without a newline at its end.

    Args:
        header: the columns' names, or one string with `` | `` between them; a name that starts
            with ``>`` is aligned to the right.
        rows: their cells; a string that is not `Markdown` is escaped and cut at `CELL_LIMIT`.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    names = header.split(" | ") if isinstance(header, str) else header
    lines: list[list[Markdown]] = [[escape(name.removeprefix(">")) for name in names]]
    lines.append([Markdown("---:" if name.startswith(">") else "---") for name in names])
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"a row of {len(row)} cells under {len(names)} columns: {row}")
        lines.append([escape(cell, CELL_LIMIT) for cell in row])
    return Markdown("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def bullets(items: Iterable[str]) -> Markdown:
    """A list with one sentence per item."""
    return Markdown("\n".join(f"- {prose(item)}" for item in items))


def fold(title: str, fact: str) -> Markdown:
    """The start of a folded section, which `FOLD_END` ends.

    The heading in it makes it a target of links, and a section where HTML is not shown.
    """
    shown = f"<b>{title}</b>: {html.escape(clean(fact))}"
    return Markdown(f"<details>\n<summary>{shown}</summary>\n\n## {title}")


FOLD_END = Markdown("</details>")

MOST_RUNS = 5
_RUNS = "run | status | verdict | >accuracy | >F1 | test split | data | recipe or summary"


def last_runs(experiment: ExperimentRecord) -> list[PriorRun]:
    """The latest earlier runs, newest first."""
    return sorted(experiment.prior_runs, key=lambda run: run.when, reverse=True)[:MOST_RUNS]


# Digests of test split, data and recipe, None if not known: prior runs are compared with them.
_Digests = tuple[str | None, str | None, str | None]


def runs_table(runs: Iterable[PriorRun]) -> Markdown:
    """Prior runs, without a comparison."""
    return table(_RUNS, ([run.report, *_prior_cells(run, (None, None, None))] for run in runs))


def prior_runs_table(records: RunRecords, experiment: ExperimentRecord) -> Markdown:
    """This run and the last ones, and whether test split, data and recipe are the same."""
    evaluation, dataset = records.evaluation, records.dataset
    test = dataset.splits.get("test") if dataset else None
    ours = (
        test.source_digest if test else None,
        dataset.digest if dataset else None,
        records.plan.recipe_digest if records.plan else None,
    )
    this: list[str] = [
        Markdown("**this run**"),
        records.manifest.status,
        records.decision.verdict if records.decision else NOTHING,
        score(evaluation.test.accuracy.value if evaluation else None),
        score(evaluation.f1.value if evaluation else None),
        *[NOTHING] * 3,
    ]
    rows = [this]
    for run in last_runs(experiment):
        best = " (best)" if run.report == experiment.best_run else ""
        rows.append([Markdown(f"{escape(run.report)}{best}"), *_prior_cells(run, ours)])
    return table(_RUNS, rows)


def _prior_cells(run: PriorRun, ours: _Digests) -> list[str]:
    theirs = (run.test_digest, run.data_digest, run.recipe_digest)
    test, data, recipe = (
        NOTHING
        if one is None
        else "the same"
        if one == other
        else "other"
        if other
        else digest(one)
        for one, other in zip(theirs, ours, strict=True)
    )
    if run.recipe_summary and run.recipe_digest != ours[2]:
        recipe = escape(run.recipe_summary)
    elif run.summary and run.accuracy is None:
        recipe = escape(run.summary)
    verdict = run.verdict or NOTHING
    return [run.status, verdict, score(run.accuracy), score(run.f1), test, data, recipe]


def cost_table(manifest: Manifest) -> Markdown:
    """Time and memory of each stage; unfinished stages only if the run is not complete."""
    return table(
        "stage | status | >wall time | >CPU time | >peak memory MB",
        (
            [
                code(name),
                stage.status,
                seconds(stage.seconds),
                seconds(stage.cpu_seconds),
                number(round(stage.peak_memory_mb) if stage.peak_memory_mb else None),
            ]
            for name, stage in manifest.stages.items()
            if stage.seconds is not None or manifest.status is not Status.COMPLETE
        ),
    )


def debt_table(changes: Iterable[DebtChange]) -> Markdown:
    """Items of the tech-debt registry, with what this run did to them."""
    return table(
        "item | change | impact | description",
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
    return table("file or result | SHA-256 (first 12 digits)", rows)


def versions(experiment: ExperimentRecord) -> Markdown:
    """Packages with their versions, on one line."""
    packages = experiment.environment.packages.items()
    return joined(f"{name} {version}" for name, version in packages)


def forms_table(export: ExportRecord) -> Markdown:
    """The transformers form and, if there is one, the ONNX form; latency for one text."""
    forms: list[tuple[str, ExportRecord | OnnxExport]] = [("transformers", export)]
    if export.onnx:
        forms.append(("ONNX", export.onnx))
    return table(
        "form | >size | >loads in | >median latency ms | >p95 latency ms | >rows/s of 64 | "
        ">agreement",
        (
            [
                name,
                megabytes(form.size_bytes),
                seconds(form.load_seconds),
                number(form.latency_ms_p50),
                number(form.latency_ms_p95),
                number(round(form.rows_per_second, 1)),
                percent(form.agreement),
            ]
            for name, form in forms
        ),
    )


def candidates_table(checkpoint: CheckpointRecord, baseline: BaselineRecord | None) -> Markdown:
    """The candidates from the cheapest to the dearest, with the training time of all their parts.

    The difference of the log-loss to that of the chosen one has its standard error.
    """
    rows = []
    for one in checkpoint.candidates:
        chosen = one is checkpoint.winner
        name = f"**{code(one.name)}** (chosen)" if chosen else code(one.name)
        above = Markdown(f"{one.loss_above_chosen:+.3f} ± {one.loss_error:.3f}")
        rows.append(
            [
                Markdown(f"{name}{_useless_parts(one)}"),
                score(one.f1_macro),
                integer(one.rows),
                seconds(checkpoint.training_seconds(one.name, baseline) if baseline else None),
                score(one.log_loss),
                NOTHING if chosen else above,
            ]
        )
    header = "candidate | >macro-F1 | >on rows | >training time | >log-loss | >difference to chosen"
    return table(header, rows)


def _useless_parts(candidate: CandidateRecord) -> str:
    """Which parts have the weight 0; empty if none has."""
    none = [code(part) for part, weight in candidate.weights.items() if not weight]
    if len(none) == len(candidate.weights):
        return " (no better than chance)"
    return f" ({joined(none)} adds nothing: its weight is 0)" if none else ""


def seeds_table(tuned: FineTuningRecord, evaluation: EvaluationRecord | None) -> Markdown:
    """Scores of each seed on val and, if evaluated, on test, with mean ± standard deviation."""
    tested = {
        one.seed: [score(each) for each in (one.accuracy, one.f1_macro, one.f1_weighted)]
        for one in (evaluation.seeds if evaluation else ())
    }
    rows = [
        [
            Markdown(f"**{one.seed}** (kept)" if one.seed == tuned.seed else one.seed),
            seconds(one.seconds),
            score(one.val_accuracy),
            score(one.val_f1_macro),
            *tested.get(one.seed, [NOTHING] * 3),
        ]
        for one in tuned.seeds
    ]
    if evaluation and evaluation.over_seeds:
        over = evaluation.over_seeds
        spreads = [spread(each) for each in (over.accuracy, over.f1_macro, over.f1_weighted)]
        rows.append([Markdown("mean ± sd"), *[NOTHING] * 3, *spreads])
    return table(
        "seed | >time | >val accuracy | >val macro-F1 | >test accuracy | >test macro-F1 | "
        ">test weighted-F1",
        rows,
    )
