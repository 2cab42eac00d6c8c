"""Registry line, tech debt and report, for every way in which a run can end."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from mlrun_assets.config import LoadedConfig
from mlrun_assets.experiment_store import FROZEN_CONFIG, Experiment
from mlrun_assets.files import write_atomically
from mlrun_assets.lifecycle.findings import find_issues
from mlrun_assets.lifecycle.holding import release
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    ProductionRecord,
    RegistryRecord,
    ReportRecord,
    Status,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reporting.datasheet import render_datasheet
from mlrun_assets.reporting.html import render_html
from mlrun_assets.reporting.markdown import render_report
from mlrun_assets.reporting.plots import draw_pictures
from mlrun_assets.reporting.run_records import RunRecords
from mlrun_assets.stages.experiment import timestamp
from mlrun_assets.stages.registry import write_run_line
from mlrun_assets.stages.tech_debt import record_debt

PLOTS_DIR = "plots"
DATASHEET_FILE = "data/datasheet.md"


def close_experiment(
    experiment: Experiment, config: LoadedConfig, status: Status, error: str | None = None
) -> None:
    """Say how a run ended: in its manifest, the registries and a report; then let it go."""
    experiment.update(status=status, closed_at=timestamp(datetime.now(UTC)), error=error)
    experiment.save(register_debt(experiment, config))
    experiment.save(register_run(experiment, config, status))
    experiment.save(write_report(experiment, config))
    release(experiment.directory)


def complete_experiment(experiment: Experiment, config: LoadedConfig) -> ReportRecord:
    """The end of a run that went all the way: its registries are written, the report is not."""
    experiment.update(status=Status.COMPLETE, closed_at=timestamp(datetime.now(UTC)), error=None)
    record = write_report(experiment, config)
    experiment.save(record)
    release(experiment.directory)
    return record


def register_run(experiment: Experiment, config: LoadedConfig, status: Status) -> RegistryRecord:
    """Write the run's line of ``_registry.md``."""
    report = experiment.manifest.report
    return write_run_line(config.reports_dir, report, status, run_summary(experiment))


def register_debt(experiment: Experiment, config: LoadedConfig) -> TechDebtRecord:
    """Bring ``_tech-debt.md`` up to what the run found."""
    issues, examined = find_issues(experiment)
    return record_debt(config.reports_dir, experiment.manifest.report, issues, examined)


def run_summary(experiment: Experiment) -> str:
    """What the run found, in one line."""
    said = []
    evaluation = experiment.find(EvaluationRecord)
    if evaluation:
        said.append(f"accuracy {evaluation.test.accuracy.value:.3f}")
        said.append(f"{evaluation.f1_kind}-F1 {evaluation.f1.value:.3f}")
        said.append(f"n-gram baseline {evaluation.baseline.other_f1 or 0.0:.3f}")
    decision = experiment.find(DecisionRecord)
    if decision:
        said.append(decision.verdict)
    production = experiment.find(ProductionRecord)
    if production:
        said.append("deployed" if production.moved else "not deployed")
    error = experiment.manifest.error
    if error:
        said.append(error.splitlines()[0])
    return ", ".join(said) or "no metrics"


def write_report(experiment: Experiment, config: LoadedConfig) -> ReportRecord:
    """Write the report in the reports directory and in the experiment, each with its own links."""
    manifest = experiment.manifest
    records = _run_records(experiment)
    pictures = draw_pictures(records, experiment.directory / PLOTS_DIR)
    file = config.reports_dir / "implementation" / f"{manifest.report}.md"
    for target in (file, experiment.directory / "report.md"):
        write_atomically(target, render_report(records, _links(pictures, target)))
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
        pictures=tuple(f"{PLOTS_DIR}/{path.name}" for path in pictures.values()),
        sentence=run_summary(experiment),
    )


def write_datasheet(directory: Path, dataset: DatasetRecord) -> Path:
    """Write the datasheet of a validated dataset beside its splits, below ``directory``."""
    file = directory / DATASHEET_FILE
    write_atomically(file, render_datasheet(dataset))
    return file


def _links(pictures: dict[str, Path], target: Path) -> dict[str, str]:
    return {
        name: Path(os.path.relpath(path, target.parent)).as_posix()
        for name, path in pictures.items()
    }


def _run_records(experiment: Experiment) -> RunRecords:
    return RunRecords(
        manifest=experiment.manifest,
        config_yaml=(experiment.directory / FROZEN_CONFIG).read_text(encoding="utf-8"),
        experiment=experiment.find(ExperimentRecord),
        dataset=experiment.find(DatasetRecord),
        plan=experiment.find(TrainingPlan),
        baseline=experiment.find(BaselineRecord),
        checkpoint=experiment.find(CheckpointRecord),
        evaluation=experiment.find(EvaluationRecord),
        export=experiment.find(ExportRecord),
        decision=experiment.find(DecisionRecord),
        production=experiment.find(ProductionRecord),
        registry=experiment.find(RegistryRecord),
        tech_debt=experiment.find(TechDebtRecord),
    )
