"""The end of a run: registry line, tech debt and report, however it ends.

`status` takes `run_summary` from here: what only an end needs is imported where it is used.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlrun_assets.config import DataConfig, LoadedConfig
from mlrun_assets.errors import ProductionError, RecordError, count
from mlrun_assets.experiment import (
    Experiment,
    ExperimentPaths,
    all_experiments,
    locked_if_free,
    run_records,
    unlock_experiment,
)
from mlrun_assets.files import write_atomically
from mlrun_assets.production.pointer import last_move, read_production
from mlrun_assets.production.versions import versions
from mlrun_assets.records import (
    CheckOutcome,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    Manifest,
    ProductionRecord,
    RegistryRecord,
    ReportRecord,
    RuleOutcome,
    Status,
    TechDebtRecord,
    TrainingPlan,
    timestamp,
)
from mlrun_assets.registries.registry import (
    read_registry,
    report_file,
    set_deployed,
    write_run_line,
)
from mlrun_assets.registries.tech_debt import DebtIssue, Impact, record_debt
from mlrun_assets.reports.formatting import spread
from mlrun_assets.runs import MADE_FROM, REPORT


def close_experiment(
    experiment: Experiment,
    config: LoadedConfig,
    status: Status,
    *,
    error: str | None = None,
    run_id: str | None = None,
) -> None:
    """Record how a run ended in the registries, the report and the manifest; unlock the experiment.

    The manifest comes last: a process that is killed before leaves an experiment that is still
    ``Running``, and the next run closes it.
    """
    manifest = _ended(experiment, status, run_id, error)
    experiment.save(register_debt(experiment, config))
    # Before the report, which may be what can't be written.
    summary = run_summary(experiment, config, manifest.error)
    experiment.save(_register(manifest, summary, config))
    _write_reports(manifest, experiment, config)
    manifest.save(experiment.paths.manifest)
    unlock_experiment(experiment.directory)


def _ended(
    experiment: Experiment, status: Status, run_id: str | None, error: str | None = None
) -> Manifest:
    end = {"status": status, "closed_at": timestamp(), "closed_by": run_id, "error": error}
    return experiment.manifest.model_copy(update=end)


def reopen_experiment(experiment: Experiment, config: LoadedConfig) -> None:
    """Set an ended experiment back to ``Running``, in the registry and in the manifest."""
    report = experiment.manifest.report
    write_run_line(config.reports_dir, report, Status.RUNNING, "resumed")
    experiment.update(status=Status.RUNNING, closed_at=None, closed_by=None, error=None)


def complete_experiment(experiment: Experiment, config: LoadedConfig, run_id: str) -> ReportRecord:
    """Write the report of a run whose stages are all done, then mark the run as complete.

    Raises:
        RecordError: another stage is not done, or was invalidated by a re-run of an earlier one.
    """
    if undone := [name for name in MADE_FROM if name not in {REPORT, *done_stages(experiment)}]:
        raise RecordError(
            f"{experiment.id}: the report needs {', '.join(undone)}; materialize them in this "
            "experiment first"
        )
    manifest = _ended(experiment, Status.COMPLETE, run_id)
    # Before the report: if production moves meanwhile, the line is wrong, and `reconcile` finds it.
    summary = run_summary(experiment, config)
    record = _write_reports(manifest, experiment, config)
    experiment.save(_register(manifest, summary, config))
    manifest.save(experiment.paths.manifest)
    return record


def done_stages(experiment: Experiment) -> set[str]:
    """The stages that came to their end."""
    return {name for name, run in experiment.manifest.stages.items() if run.status == "done"}


def register_run(experiment: Experiment, config: LoadedConfig) -> RegistryRecord:
    """Write the registry line of a run that has its decision; the status is still ``Running``.

    Raises:
        RecordError: there is no record of the asset `production_model`.
    """
    experiment.load(ProductionRecord)
    manifest = experiment.manifest
    return _register(manifest, run_summary(experiment, config, manifest.error), config)


def _register(manifest: Manifest, summary: str, config: LoadedConfig) -> RegistryRecord:
    return write_run_line(config.reports_dir, manifest.report, manifest.status, summary)


def reconcile(config: LoadedConfig, moved_to: str | None = None) -> None:
    """Make records, reports and lines agree with the model in production.

    They need it after a move, and after a process was killed before it had updated them. An
    experiment that a process works on is left alone: that process calls this at its end.

    Args:
        config: the config of the project.
        moved_to: a report to write again in any case.

    Raises:
        MlrunError, OSError: production can't be read, or something can't be written.
    """
    champion = last_move(config.production_dir).after
    deployed = champion.report if champion else None
    lines = {line.report: line for line in read_registry(config.reports_dir).runs}
    wrong = [report for report in lines if lines[report].deployed != (report == deployed)]
    reports = dict.fromkeys([*wrong, *filter(None, [moved_to])])
    if not reports:
        return
    found = {each.manifest.report: each for each in all_experiments(config.experiments_dir)}
    for report in reports:
        if experiment := found.get(report):
            with locked_if_free(experiment.directory) as free:
                if free:
                    manifest = experiment.manifest
                    record = _write_reports(manifest, experiment, config)
                    # The line comes last: it shows the next `reconcile` that all is written.
                    if report in lines:
                        set_deployed(config.reports_dir, report, report == deployed)
                    else:
                        _register(manifest, record.sentence, config)
        elif _was_deployed(report, config):
            set_deployed(config.reports_dir, report, report == deployed)
    if last_move(config.production_dir).after != champion:
        reconcile(config)  # another process moved it meanwhile, and left what was locked here


def _was_deployed(report: str, config: LoadedConfig) -> bool:
    """Whether a version is of that run; a line of another project is not ours to change."""
    with suppress(ProductionError):  # a version that can't be read
        return report in {version.report for version in versions(config.production_dir)}
    return False


def _write_reports(
    manifest: Manifest, experiment: Experiment, config: LoadedConfig
) -> ReportRecord:
    _update_production(experiment, config)
    record = write_report(manifest, experiment, config)
    experiment.save(record)
    return record


def _update_production(experiment: Experiment, config: LoadedConfig) -> None:
    """Replace the production record by the last move, if that deployed or replaced the model."""
    if not experiment.find(DecisionRecord):  # it is being run again
        return
    with suppress(ProductionError):  # the next run reports that production can't be read
        known, last = experiment.find(ProductionRecord), last_move(config.production_dir)
        then = known.after if known else None
        concerned = experiment.id in {each.experiment for each in (then, last.after) if each}
        if concerned and last.after != then:
            experiment.save(last)


def run_summary(experiment: Experiment, config: LoadedConfig, error: str | None = None) -> str:
    """Scores, model, verdict and deployment in one line, then the first line of ``error``.

    Whether the model is deployed comes from production: the next move outdates a record of it.
    """
    parts = []
    if evaluation := experiment.find(EvaluationRecord):
        over = evaluation.f1_over_seeds
        seeds = f" ({spread(over)} over {count(len(evaluation.seeds), 'seed')})" if over else ""
        parts.append(f"accuracy {evaluation.test.accuracy.value:.3f}")
        parts.append(f"{evaluation.f1_kind}-F1 {evaluation.f1.value:.3f}{seeds}")
        if baseline := evaluation.baseline.other_f1:
            parts.append(f"n-gram baseline {baseline.value:.3f}")
    if checkpoint := experiment.find(CheckpointRecord):
        parts.append(f"model {checkpoint.chosen}")
    if decision := experiment.find(DecisionRecord):
        parts.append(decision.verdict)
    with suppress(ProductionError):  # the next run reports that production can't be read
        champion = read_production(config.production_dir)
        if champion and champion.experiment == experiment.id:
            parts.append("deployed")
        elif experiment.find(ProductionRecord):
            parts.append("not deployed")
    if error:
        parts.append(error.splitlines()[0])
    return ", ".join(parts) or "no metrics"


def register_debt(experiment: Experiment, config: LoadedConfig) -> TechDebtRecord:
    """Add the issues of the run to ``_tech-debt.md``, and resolve those that are gone.

    The areas of a stage that the run did not reach are not examined: their old issues stay open.
    """
    from mlrun_assets.decision.verdict import DECISIVE, RULES
    from mlrun_assets.plan.plan import ADVICE_TOPICS

    issues: list[DebtIssue] = []
    examined: set[str] = set()
    if dataset := experiment.find(DatasetRecord):
        ran = [check for check in dataset.checks if check.outcome is not CheckOutcome.OFF]
        examined |= {f"data/{check.name}" for check in ran}
        for check in ran:
            if check.outcome is CheckOutcome.FAILED:
                title = f"Data check {check.name} {'blocks' if check.blocks else 'warns'}"
                impact: Impact = "High" if check.blocks else "Medium"
                issues.append(DebtIssue(f"data/{check.name}", title, impact, check.message))
    if plan := experiment.find(TrainingPlan):
        examined |= {f"training/{topic}" for topic in ADVICE_TOPICS}
        issues += [
            DebtIssue(f"training/{advice.topic}", advice.issue, "Low", advice.sentence)
            for advice in plan.advice
        ]
    if decision := experiment.find(DecisionRecord):
        judged = [rule for rule in decision.rules if rule.outcome is not RuleOutcome.OFF]
        examined |= {f"decision/{rule.rule}" for rule in judged}
        for rule in judged:
            if rule.outcome is not RuleOutcome.PASSED:
                impact = "High" if rule.outcome in DECISIVE else "Medium"
                title = RULES[rule.rule].issue
                issues.append(DebtIssue(f"decision/{rule.rule}", title, impact, rule.sentence))
    return record_debt(config.reports_dir, experiment.manifest.report, issues, examined)


def write_report(manifest: Manifest, experiment: Experiment, config: LoadedConfig) -> ReportRecord:
    """Write the report to the reports directory and to the experiment, with relative links."""
    from mlrun_assets.reports.plots import draw_pictures
    from mlrun_assets.reports.report import render_html, render_report

    records = run_records(manifest, experiment)
    pictures = draw_pictures(records, experiment.paths.plots)
    card = experiment.paths.model_card
    has_card = records.production is not None and card.exists()  # else it is an older evaluation's
    file = report_file(config.reports_dir, manifest.report)
    for target in (file, experiment.paths.report):
        links = {name: _link(picture, target) for name, picture in pictures.items()}
        text = render_report(
            records, links, _link(card, experiment.paths.report) if has_card else None
        )
        write_atomically(target, text)
    html_file = file.with_suffix(".html")
    images = {_link(picture, file): picture.read_bytes() for picture in pictures.values()}
    page = render_html(file.read_text(encoding="utf-8"), records, images)
    write_atomically(html_file, page)
    sentence = run_summary(experiment, config, manifest.error)
    return ReportRecord(file=str(file), html_file=str(html_file), sentence=sentence)


def _link(path: Path, target: Path) -> str:
    return Path(os.path.relpath(path, target.parent)).as_posix()


def write_datasheet(directory: Path, dataset: DatasetRecord, data: DataConfig) -> None:
    """Write the datasheet of a validated dataset beside its splits in ``directory``."""
    from mlrun_assets.reports.data_section import render_datasheet

    write_atomically(ExperimentPaths(directory).datasheet, render_datasheet(dataset, data))
