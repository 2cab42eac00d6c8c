"""The end of a run: registry line, tech debt and report, however it ends."""

from __future__ import annotations

import os
from pathlib import Path

from mlrun_assets.config import DataConfig, LoadedConfig
from mlrun_assets.decision.verdict import DECISIVE, RULES
from mlrun_assets.errors import RecordError, count
from mlrun_assets.experiment import Experiment, ExperimentPaths, run_records, unlock_experiment
from mlrun_assets.files import write_atomically
from mlrun_assets.plan.plan import ADVICE_TOPICS
from mlrun_assets.records import (
    CheckOutcome,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    Manifest,
    ProductionRecord,
    QualityCheck,
    RegistryRecord,
    ReportRecord,
    RuleOutcome,
    RuleResult,
    Severity,
    StageRun,
    Status,
    TechDebtRecord,
    TrainingPlan,
    timestamp,
)
from mlrun_assets.registries.registry import report_file, write_run_line
from mlrun_assets.registries.tech_debt import DebtIssue, record_debt
from mlrun_assets.reports.data_section import render_datasheet
from mlrun_assets.reports.formatting import spread
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.report import render_html, render_report
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
    manifest = _ended(experiment, status, error=error, run_id=run_id)
    experiment.save(register_debt(experiment, config))
    experiment.save(_register(manifest, experiment, config))
    experiment.save(write_report(manifest, experiment, config))
    manifest.save(experiment.paths.manifest)
    unlock_experiment(experiment.directory)


def reopen_experiment(experiment: Experiment, config: LoadedConfig) -> None:
    """Set an ended experiment back to ``Running``, in the registry and in the manifest."""
    manifest = experiment.manifest
    write_run_line(config.reports_dir, manifest.report, Status.RUNNING, "resumed")
    experiment.update(status=Status.RUNNING, closed_at=None, closed_by=None, error=None)


def complete_experiment(experiment: Experiment, config: LoadedConfig, run_id: str) -> ReportRecord:
    """Write the report of a run whose stages are all done, then mark the run as complete.

    The registry line comes after the report, and the manifest last: after a kill in between, the
    next run closes the experiment.

    Raises:
        RecordError: another stage is not done, or was invalidated by a re-run of an earlier one.
    """
    stages = experiment.manifest.stages
    undone = [name for name in MADE_FROM if name != REPORT and not is_done(stages.get(name))]
    if undone:
        raise RecordError(
            f"{experiment.id}: the report needs {', '.join(undone)}; materialize them in this "
            "experiment first"
        )
    manifest = _ended(experiment, Status.COMPLETE, run_id=run_id)
    record = write_report(manifest, experiment, config)
    experiment.save(record)
    experiment.save(_register(manifest, experiment, config))
    experiment.update(
        status=manifest.status, closed_at=manifest.closed_at, closed_by=run_id, error=None
    )
    return record


def register_run(experiment: Experiment, config: LoadedConfig) -> RegistryRecord:
    """Write the registry line of a run that has its decision; the status is still ``Running``.

    Raises:
        RecordError: there is no record of the asset `production_model`.
    """
    experiment.load(ProductionRecord)
    return _register(experiment.manifest, experiment, config)


def refresh_registry_and_report(experiment: Experiment, config: LoadedConfig) -> None:
    """Write registry line and report again, after production was moved."""
    manifest = experiment.manifest
    experiment.save(_register(manifest, experiment, config))
    experiment.save(write_report(manifest, experiment, config))


def _ended(
    experiment: Experiment, status: Status, *, error: str | None = None, run_id: str | None = None
) -> Manifest:
    changes = {
        "status": status,
        "closed_at": timestamp(),
        "closed_by": run_id,
        "error": error,
    }
    return experiment.manifest.model_copy(update=changes)


def is_done(run: StageRun | None) -> bool:
    """Whether a stage is done. None: it did not start."""
    return run is not None and run.status == "done"


def _register(manifest: Manifest, experiment: Experiment, config: LoadedConfig) -> RegistryRecord:
    summary = run_summary(experiment, manifest.error)
    return write_run_line(config.reports_dir, manifest.report, manifest.status, summary)


def run_summary(experiment: Experiment, error: str | None = None) -> str:
    """Scores, verdict and deployment in one line, then the first line of ``error``."""
    parts = []
    evaluation = experiment.find(EvaluationRecord)
    if evaluation:
        parts.append(f"accuracy {evaluation.test.accuracy.value:.3f}")
        parts.append(f"{evaluation.f1_kind}-F1 {evaluation.f1.value:.3f}{_over_seeds(evaluation)}")
        parts.append(f"n-gram baseline {evaluation.baseline.other_f1 or 0.0:.3f}")
    decision = experiment.find(DecisionRecord)
    if decision:
        parts.append(decision.verdict)
    production = experiment.find(ProductionRecord)
    if production:
        deployed = production.after and production.after.experiment == experiment.id
        parts.append("deployed" if deployed else "not deployed")
    if error:
        parts.append(error.splitlines()[0])
    return ", ".join(parts) or "no metrics"


def _over_seeds(evaluation: EvaluationRecord) -> str:
    """`` (0.785 ± 0.012 over 3 seeds)`` if several seeds were trained, else nothing."""
    over = evaluation.f1_over_seeds
    return f" ({spread(over)} over {count(len(evaluation.seeds), 'seed')})" if over else ""


# Tech debt


def register_debt(experiment: Experiment, config: LoadedConfig) -> TechDebtRecord:
    """Add the issues of the run to ``_tech-debt.md``, and resolve those that are gone."""
    issues, examined = find_issues(experiment)
    return record_debt(config.reports_dir, experiment.manifest.report, issues, examined)


def find_issues(experiment: Experiment) -> tuple[list[DebtIssue], set[str]]:
    """The issues of a run, and the areas that it examined.

    The areas of a stage that the run did not reach are not examined: their old issues stay open.
    """
    issues: list[DebtIssue] = []
    examined: set[str] = set()
    dataset = experiment.find(DatasetRecord)
    if dataset:
        ran = [check for check in dataset.checks if check.outcome is not CheckOutcome.OFF]
        examined |= {f"data/{check.name}" for check in ran}
        issues += [_data_issue(check) for check in ran if check.outcome is CheckOutcome.FAILED]
    plan = experiment.find(TrainingPlan)
    if plan:
        examined |= {f"training/{topic}" for topic in ADVICE_TOPICS}
        issues += [
            DebtIssue(f"training/{advice.topic}", advice.issue, "Low", advice.sentence)
            for advice in plan.advice
        ]
    decision = experiment.find(DecisionRecord)
    if decision:
        examined |= {
            f"decision/{rule.rule}"
            for rule in decision.rules
            if rule.outcome is not RuleOutcome.OFF
        }
        issues += [
            _rule_issue(rule)
            for rule in decision.rules
            if rule.outcome in DECISIVE or rule.outcome is RuleOutcome.WARNED
        ]
    return issues, examined


def _data_issue(check: QualityCheck) -> DebtIssue:
    blocks = check.severity is Severity.ERROR
    return DebtIssue(
        area=f"data/{check.name}",
        description=f"Data check {check.name} {'blocks' if blocks else 'warns'}",
        impact="High" if blocks else "Medium",
        detail=check.message,
    )


def _rule_issue(rule: RuleResult) -> DebtIssue:
    return DebtIssue(
        area=f"decision/{rule.rule}",
        description=RULES[rule.rule].issue,
        impact="High" if rule.outcome in DECISIVE else "Medium",
        detail=rule.sentence,
    )


# Report and datasheet


def write_report(manifest: Manifest, experiment: Experiment, config: LoadedConfig) -> ReportRecord:
    """Write the report to the reports directory and to the experiment, with relative links."""
    records = run_records(manifest, experiment)
    pictures = draw_pictures(records, experiment.paths.plots)
    file = report_file(config.reports_dir, manifest.report)
    for target in (file, experiment.paths.report):
        card = _card_link(experiment, target)
        write_atomically(target, render_report(records, _links(pictures, target), card))
    html_file = file.with_suffix(".html")
    page = render_html(
        file.read_text(encoding="utf-8"),
        manifest.report,
        {link: pictures[name].read_bytes() for name, link in _links(pictures, file).items()},
    )
    write_atomically(html_file, page)
    return ReportRecord(
        file=str(file),
        html_file=str(html_file),
        sentence=run_summary(experiment, manifest.error),
    )


def _links(pictures: dict[str, Path], target: Path) -> dict[str, str]:
    return {
        name: Path(os.path.relpath(path, target.parent)).as_posix()
        for name, path in pictures.items()
    }


def _card_link(experiment: Experiment, target: Path) -> str | None:
    """The link from ``target`` to the model card; None: this evaluation has no card."""
    card = experiment.paths.model_card
    if experiment.find(ProductionRecord) is None or not card.exists():
        return None
    return Path(os.path.relpath(card, target.parent)).as_posix()


def write_datasheet(directory: Path, dataset: DatasetRecord, data: DataConfig) -> Path:
    """Write the datasheet of a validated dataset beside its splits in ``directory``."""
    file = ExperimentPaths(directory).datasheet
    write_atomically(file, render_datasheet(dataset, data))
    return file
