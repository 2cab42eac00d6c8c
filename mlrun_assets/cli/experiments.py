"""Commands that list and compare runs and versions; they change nothing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from mlrun_assets.cli import (
    as_json,
    command,
    complete_names,
    note,
    say,
    show,
    show_columns,
    show_json,
    shown_path,
    with_config,
)
from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError, count
from mlrun_assets.experiment import (
    Experiment,
    all_experiments,
    find_experiment,
    is_locked,
    verdict_or_status,
)
from mlrun_assets.production.pointer import read_production, served_before
from mlrun_assets.production.versions import history, last_move_to, versions
from mlrun_assets.records import (
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    RuleOutcome,
    Status,
)
from mlrun_assets.registries.registry import report_file
from mlrun_assets.reports.formatting import score, seconds

LIMIT = click.IntRange(min=1)
RESUMABLE = (Status.CANCELLED, Status.FAILED, Status.INTERRUPTED)


def facts_of(experiment: Experiment, config: LoadedConfig, champion: str | None) -> dict[str, Any]:
    """A run as JSON; docs/command-line.md documents the keys. ``champion``: what is deployed."""
    manifest = experiment.manifest
    dataset, evaluation = experiment.find(DatasetRecord), experiment.find(EvaluationRecord)
    decision, checkpoint = experiment.find(DecisionRecord), experiment.find(CheckpointRecord)
    f1 = evaluation.f1 if evaluation else None
    baseline = evaluation.baseline.other_f1 if evaluation else None
    return {
        "id": manifest.id,
        "name": manifest.original_name or manifest.name,
        "status": str(manifest.status),
        "verdict": str(decision.verdict) if decision else None,
        "opened": manifest.created_at,
        "closed": manifest.closed_at,
        "seconds": round(manifest.seconds, 1),
        "model": checkpoint.chosen if checkpoint else None,
        "f1_kind": evaluation.f1_kind if evaluation else None,
        "f1": f1.value if f1 else None,
        "f1_interval": [f1.low, f1.high] if f1 else None,
        "accuracy": evaluation.test.accuracy.value if evaluation else None,
        "baseline_f1": baseline.value if baseline else None,
        "data": dataset.name if dataset else None,
        "rows": dataset.rows if dataset else None,
        "data_digest": dataset.digest if dataset else None,
        "test_digest": evaluation.test_digest if evaluation else None,
        "deployed": champion == manifest.id,
        "error": manifest.error,
        "directory": str(experiment.directory),
        "report": str(report_file(config.reports_dir, manifest.report).with_suffix(".html")),
    }


def champion_of(config: LoadedConfig) -> str | None:
    """The experiment whose model is in production; None also if production can't be read."""
    with suppress(ProductionError):
        version = read_production(config.production_dir)
        return version.experiment if version else None
    return None


def handle(experiment: Experiment, config: LoadedConfig) -> str:
    """What to call the experiment in a command: its name, or its id if a later run has the name."""
    name = experiment.manifest.name
    return name if find_experiment(config.experiments_dir, name) == experiment else experiment.id


def resume_note(experiment: Experiment, config: LoadedConfig) -> str | None:
    """The command that continues a stopped run; None if there is nothing to continue."""
    manifest = experiment.manifest
    stopped = manifest.status in RESUMABLE
    with suppress(OSError):  # users who may not write there can't see the lock
        stopped |= manifest.status is Status.RUNNING and not is_locked(experiment.directory)
    if stopped and can_resume(experiment):
        return f"mlrun-assets run --resume {shlex.quote(handle(experiment, config))}"
    return None


def can_resume(experiment: Experiment) -> bool:
    """Whether its first stage, which `run --resume` needs, is done."""
    opened = experiment.manifest.stages.get("experiment")
    return opened is not None and opened.status == "done"


@command("status", "Show production, runs and open tech debt.", "status --limit 3")
@click.option("--limit", type=LIMIT, default=10, show_default=True, help="Number of runs.")
@as_json
@with_config
def status(config: LoadedConfig, limit: int, json: bool) -> None:
    """Print production, runs and tech debt; change nothing."""
    from mlrun_assets.registries.tech_debt import read_open_debt
    from mlrun_assets.runs.closing import run_summary

    serving = read_production(config.production_dir)
    move = last_move_to(config.production_dir, serving.version) if serving else None
    champion = serving.experiment if serving else None
    latest = all_experiments(config.experiments_dir)[:limit]
    debt = read_open_debt(config.reports_dir)
    if json:
        deployed = serving and {
            "version": serving.version, "experiment": champion, "name": serving.name,
            "since": move.when if move else None, "f1": serving.f1, "accuracy": serving.accuracy,
        }  # fmt: skip
        runs = [facts_of(each, config, champion) for each in latest]
        items = [item.model_dump() for item in debt]
        show_json({"production": deployed, "runs": runs, "tech_debt": items})
        return
    since = f", since {move.when}" if move else ""
    rows = [["production", serving.title + since if serving else "nothing deployed yet"]]
    for experiment in latest:
        manifest = experiment.manifest
        rows.append([verdict_or_status(experiment), f"{manifest.title}, {manifest.created_at}"])
        rows.append(["", run_summary(experiment, config, manifest.error)])
        if command := resume_note(experiment, config):
            killed = "was killed; " if manifest.status is Status.RUNNING else ""
            rows.append(["", f"{killed}resume with `{command}`"])
    for item in debt:
        text = ": ".join(filter(None, [item.impact, item.description]))
        rows.append([f"TD-{item.number:03d}", text])
    show_columns(rows)
    if not latest:
        note("no runs yet; start one with `mlrun-assets run`")


SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "opened": lambda run: run["opened"],
    "score": lambda run: run["f1"] or 0.0,
    "verdict": lambda run: run["verdict"] or "",
    "data": lambda run: (run["data"] or "", run["opened"]),
    "seconds": lambda run: run["seconds"],
    "name": lambda run: run["name"],
}


@command(
    "runs",
    "List the experiments.",
    "runs --sort score",
    "runs --json | jq '.[0].f1'",
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="opened",
    show_default=True,
    help="With opened, score or seconds, the newest, best or longest run is first; with the "
    "others, the order is from A to Z.",
)
@click.option("--limit", type=LIMIT, help="Number of runs. Default: all.")
@as_json
@with_config
def runs(config: LoadedConfig, sort: str, limit: int | None, json: bool) -> None:
    """Print a line for each experiment."""
    champion = champion_of(config)
    found = [facts_of(each, config, champion) for each in all_experiments(config.experiments_dir)]
    found.sort(key=SORTS[sort], reverse=sort in ("opened", "score", "seconds"))
    found = found[:limit]
    if json:
        show_json(found)
        return
    header = ("name", "verdict", "F1", "baseline", "time", "opened", "model", "data", "id")
    show_columns([_run_row(run) for run in found], header, needed=3)
    if not found:
        note("no runs yet; start one with `mlrun-assets run`")


def _run_row(run: dict[str, Any]) -> list[str]:
    ended = run["status"] in (Status.COMPLETE, Status.BLOCKED)
    return [
        run["name"],
        run["verdict"] if ended and run["verdict"] else run["status"],
        score(run["f1"]),
        score(run["baseline_f1"]),
        seconds(run["seconds"]),
        run["opened"],
        f"{run['model'] or ''}{' (deployed)' if run['deployed'] else ''}",
        f"{run['data']}, {count(run['rows'], 'row')}" if run["data"] else "",
        run["id"] if run["id"] != run["name"] else "",
    ]


@command(
    "show",
    "Show one experiment. RUN is its name or id.",
    "show baseline-v2",
    "show baseline-v2 --json",
)
@click.argument("run", shell_complete=complete_names)
@as_json
@with_config
def show_run(config: LoadedConfig, run: str, json: bool) -> None:
    """Print the facts of a run."""
    experiment = find_experiment(config.experiments_dir, run)
    facts = facts_of(experiment, config, champion_of(config))
    dataset, decision = experiment.find(DatasetRecord), experiment.find(DecisionRecord)
    stages = experiment.manifest.stages
    if json:
        facts["stages"] = {name: stage.model_dump() for name, stage in stages.items()}
        facts["checks"] = [c.model_dump(mode="json") for c in dataset.checks] if dataset else []
        facts["rules"] = [r.model_dump(mode="json") for r in decision.rules] if decision else []
        facts["next_steps"] = list(decision.next_steps) if decision else []
        show_json(facts)
        return
    show_columns(list(_shown(experiment, facts)))
    show("")
    times = [[name, stage.status, seconds(stage.seconds)] for name, stage in stages.items()]
    show_columns(times, ("stage", "status", "time"))
    if command := resume_note(experiment, config):
        note(f"resume with `{command}`")


def _shown(experiment: Experiment, facts: dict[str, Any]) -> Iterator[list[str]]:
    """The facts of a run that a person reads, with those that are known."""
    evaluation, decision = experiment.find(EvaluationRecord), experiment.find(DecisionRecord)
    dataset = experiment.find(DatasetRecord)
    yield ["name", facts["name"]]
    yield ["id", facts["id"]]
    yield ["status", facts["status"]]
    if decision:
        yield ["verdict", str(decision.verdict)]
        yield ["", decision.sentence]
    if facts["error"]:
        yield ["error", facts["error"]]
    yield ["opened", f"{facts['opened']}, {seconds(facts['seconds'])} in all"]
    if evaluation:
        baseline = score(facts["baseline_f1"])
        model = facts["model"] or "not known: this version can't read its record"
        yield ["model", f"{model}{', in production' if facts['deployed'] else ''}"]
        yield ["test", f"{evaluation.f1_kind}-F1 {score(evaluation.f1)}, baseline {baseline}"]
        yield ["", f"accuracy {score(evaluation.test.accuracy)}"]
    if dataset:
        of_splits = ", ".join(f"{name} {part.rows_kept:,}" for name, part in dataset.splits.items())
        checks = (("blocks" if c.blocks else "warns", c.name) for c in dataset.failed_checks)
        yield ["data", f"{dataset.name}, {count(dataset.rows, 'row')} ({of_splits})"]
        yield ["checks", _not_passed(checks)]
    if decision:
        yield ["rules", _not_passed((r.outcome, r.rule) for r in decision.rules)]
        steps = decision.steps_left(in_production=facts["deployed"])
        yield from (["" if place else "next", step] for place, step in enumerate(steps))
    yield ["directory", shown_path(Path(facts["directory"]))]
    yield ["report", shown_path(Path(facts["report"]))]


def _not_passed(outcomes: Iterable[tuple[str, str]]) -> str:
    """``failed: min_f1; warned: beats_baseline``, of outcomes and names."""
    by_outcome: dict[str, list[str]] = {}
    for outcome, name in outcomes:
        if outcome not in (RuleOutcome.PASSED, RuleOutcome.OFF):
            by_outcome.setdefault(outcome, []).append(name)
    found = "; ".join(f"{outcome}: {', '.join(names)}" for outcome, names in by_outcome.items())
    return found or "all passed"


@command(
    "open",
    "Open the report of a run in a browser. RUN is its name or id. Default: the latest run.",
    "open",
    "open baseline-v2",
)
@click.argument("run", required=False, shell_complete=complete_names)
@with_config
def open_report(config: LoadedConfig, run: str | None) -> None:
    """Print the path of the HTML report, of the latest run that has one, and open it."""
    import webbrowser

    if run is None:
        experiments = all_experiments(config.experiments_dir)
    else:
        experiments = [find_experiment(config.experiments_dir, run)]
    names = [experiment.manifest.report for experiment in experiments]
    pages = [report_file(config.reports_dir, name).with_suffix(".html") for name in names]
    page = next((page for page in pages if page.is_file()), None)
    if page is None:
        where = pages[0] if run else config.reports_dir
        raise ExperimentError(f"{where}: no report yet; start a run with `mlrun-assets run`")
    show(page)
    screens = {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if screens or sys.platform != "linux":
        webbrowser.open(page.absolute().as_uri())


@command("versions", "List the deployed versions. `rollback --to` takes one of them.", "versions")
@as_json
@with_config
def list_versions(config: LoadedConfig, json: bool) -> None:
    """Print a line for each version, the latest first."""
    serving = read_production(config.production_dir)
    moves = {move.after: move for move in history(config.production_dir)}  # the last to each
    found: list[dict[str, Any]] = []
    for version in reversed(versions(config.production_dir)):
        move = moves.get(version.version)
        found.append(
            {
                "version": version.version, "name": version.name,
                "experiment": version.experiment,
                "in_production": bool(serving and serving.version == version.version),
                "promoted": version.promoted_at,
                "last_moved_to": move.when if move else None,
                "by": move.by if move else None,
                "why": move.why if move else None,
                "forced": move.forced if move else None,
                "f1": version.f1, "accuracy": version.accuracy,
            }
        )  # fmt: skip
    if json:
        show_json(found)
        return
    rows = [
        [
            each["name"],
            "now" if each["in_production"] else "",
            score(each["f1"]),
            each["last_moved_to"] or each["promoted"],
            f"{each['why'] or ''}{' (forced)' if each['forced'] else ''}",
            each["version"] if each["version"] != each["name"] else "",
        ]
        for each in found
    ]
    show_columns(rows, ("name", "production", "F1", "deployed", "why", "version"), needed=4)
    if not found:
        note("nothing was deployed yet; deploy with `mlrun-assets promote EXPERIMENT`")
    elif serving and (before := served_before(config.production_dir, serving.version)):
        note(f"`mlrun-assets rollback --reason WHY` goes back to {before}")


@command(
    "compare",
    "Compare models side by side. Shows what differs, and paired tests on the same test rows. "
    "MODEL is an experiment or a version of production, by its name or id. One MODEL is compared "
    "with production. With none, production is compared with the version before it.",
    "compare",
    "compare baseline-v2",
    "compare baseline-v1 baseline-v2 baseline-v3",
)
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_names)
@as_json
@with_config
def compare(config: LoadedConfig, models: tuple[str, ...], json: bool) -> None:
    """Print the differences; change nothing."""
    from mlrun_assets.production.compare import side_by_side

    found = side_by_side(config, models)
    if json:
        show_json(found.as_json())
        return
    show_columns(found.rows, ("", *found.models))
    show("")
    for line in found.conclusions:
        say(line)
