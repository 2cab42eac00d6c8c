"""Metadata for the UI from the records: a Markdown summary, numbers to plot over time, pictures."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mlrun_assets.experiment import Experiment
from mlrun_assets.markdown import clean
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    PredictionsRecord,
    ProductionRecord,
    Record,
    RegistryRecord,
    ReportRecord,
    RunRecords,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reports import scores, summaries
from mlrun_assets.reports.figure import on_white
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.report import CONTENTS, without_pictures
from mlrun_assets.reports.tables import bullets, seeds_table

# Dagster shows a value by its type: Markdown, text, number, path or table.
Metadata = dict[str, Any]
markdown = dg.MetadataValue.md


def experiment_metadata(record: ExperimentRecord, directory: Path) -> Metadata:
    """The experiment's directory, and the earlier runs and open tech debt that it starts with."""
    return {
        "summary": markdown(summaries.summarise_experiment(record)),
        "experiment": directory.name,
        "directory": directory,
        "prior_runs": record.known_runs,
        "open_tech_debt": record.open_debt_items,
    }


def dataset_metadata(record: DatasetRecord, experiment: Experiment) -> Metadata:
    """Rows, sizes, checks and pictures of the data."""
    others = {"helper_rows": record.auxiliary, "unlabelled_texts": record.unlabelled}
    return {
        "summary": markdown(summaries.summarise_dataset(record)),
        **{f"{name}_rows": split.rows_kept for name, split in record.splits.items()},
        **{f"{name}_bytes": split.source_bytes for name, split in record.splits.items()},
        "quarantined_rows": sum(split.rows_quarantined for split in record.splits.values()),
        **{name: texts.rows_kept for name, texts in others.items() if texts},
        "checks": _table(
            {"check": check.name, "outcome": str(check.outcome), "found": check.message}
            for check in record.checks
        ),
        "quarantine": experiment.directory / record.quarantine_file,
        "datasheet": experiment.paths.datasheet,
        **_pictures(experiment, dataset=record),
    }


def plan_metadata(record: TrainingPlan) -> Metadata:
    """The choices with their reasons, and the main settings."""
    lists = {
        "same_plan_before": record.seen_before,
        "rejected_before": record.rejected,
        "advice": [each.sentence for each in record.advice],
    }
    return {
        "summary": markdown(summaries.summarise_plan(record)),
        "choices": _table(
            {
                "setting": choice.key,
                "value": choice.value,
                "from": choice.source,
                "reason": choice.reason,
                "evidence": choice.evidence,
            }
            for choice in record.choices
        ),
        **{name: markdown(bullets(items)) for name, items in lists.items() if items},
        "seeds": len(record.recipes),
        "epochs": record.recipe.epochs,
        "learning_rate": record.recipe.learning_rate,
    }


def baseline_metadata(record: BaselineRecord) -> Metadata:
    """The scores of the n-gram model, the majority label and the frozen encoder."""
    heads = {"frozen": record.frozen, "helped": record.helped}
    found = {part: head for part, head in heads.items() if head}
    return {
        "summary": markdown(summaries.summarise_baseline(record)),
        **_rounded(
            {
                "linear_f1_macro": record.linear.f1_macro.value,
                "linear_accuracy": record.linear.accuracy.value,
                "majority_accuracy": record.majority.accuracy.value,
                **{f"{part}_f1_macro": head.f1_macro for part, head in found.items()},
                "seconds": record.seconds + sum(head.seconds for head in found.values()),
            }
        ),
    }


def checkpoint_metadata(record: CheckpointRecord, experiment: Experiment) -> Metadata:
    """The chosen candidate with its score; time, memory and curve of fine-tuning."""
    tuned, winner = record.fine_tuning, record.winner
    baseline = experiment.find(BaselineRecord)
    figures = {"f1_macro": winner.f1_macro.value, "accuracy": winner.accuracy}
    if tuned:
        best = max(tuned.history, key=lambda entry: entry.val_f1_macro)
        figures |= {
            "encoder_val_f1_macro": best.val_f1_macro,
            "seconds": tuned.seconds,
            "tokens_per_second": tuned.tokens_per_second,
            "peak_memory_mb": tuned.peak_memory_mb,
        }
    return {
        "summary": markdown(summaries.summarise_checkpoint(record, baseline)),
        "chosen": record.chosen,
        **_rounded(figures),
        "model": experiment.directory / record.model_dir,
        "parameters": record.parameters,
        "seeds": len(tuned.seeds) if tuned else 0,
        **_seeds(record, None),
        **_pictures(experiment, checkpoint=record, baseline=baseline),
    }


def evaluation_metadata(record: EvaluationRecord, experiment: Experiment) -> Metadata:
    """Test scores, calibration, slices, rows to label next and pictures."""
    spread = record.over_seeds.model_dump() if record.over_seeds else {}
    calibration = record.calibration
    return {
        "summary": markdown(summaries.summarise_evaluation(record)),
        "test_rows": record.test.rows,
        "test_looks": record.test_looks.looks,
        **_rounded(
            {
                "accuracy": record.test.accuracy.value,
                "f1_macro": record.test.f1_macro.value,
                "f1_weighted": record.test.f1_weighted.value,
                "calibration_error": calibration.error,
                "rows_per_second": record.rows_per_second,
                **{f"{name}_mean": values["mean"] for name, values in spread.items()},
                **{f"{name}_sd": values["sd"] for name, values in spread.items()},
            }
        ),
        **_without_leaks(record),
        "calibration": markdown(
            f"{scores.calibration_sentence(record)}\n\n{scores.calibration_table(record)}"
        ),
        **_rounded(
            {
                "brier": calibration.brier,
                "calibration_error_by_chance": calibration.chance.mean,
            }
        ),
        "acceptance": markdown(scores.acceptance_table(record)),
        **_seeds(experiment.load(CheckpointRecord), record),
        **_parts(record),
        "predictions": experiment.directory / record.predictions_file,
        **_label_next(record, experiment.directory),
        **_pictures(experiment, evaluation=record),
    }


def _without_leaks(record: EvaluationRecord) -> Metadata:
    """The scores without the test rows that leak from other splits, if there are any."""
    clean = record.test_without_leaks
    if clean is None:
        return {}
    f1, accuracy = clean.f1_macro.value, clean.accuracy.value
    return {
        "leaking_test_rows": record.test.rows - clean.rows,
        **_rounded({"accuracy_without_leaks": accuracy, "f1_macro_without_leaks": f1}),
    }


def _parts(record: EvaluationRecord) -> Metadata:
    """The slices, and the recall of both compared models by label and slice."""
    comparison = scores.parts_comparison(record)
    found: Metadata = {}
    if record.slices:
        found["slices"] = markdown(scores.slices_table(record.slices))
    if comparison.labels or comparison.slices:
        found["recall_by_part"] = markdown(scores.parts_table(comparison))
    return found


def _label_next(record: EvaluationRecord, directory: Path) -> Metadata:
    """The rows to label next, and why."""
    why = scores.label_next_sentence(record)
    if why is None:
        return {}
    return {"label_next": directory / record.label_next_file, "label_next_why": markdown(why)}


def export_metadata(record: ExportRecord, experiment: Experiment) -> Metadata:
    """Size, speed and agreement of the exported model and of its ONNX form."""
    names = ("size_bytes", "agreement", "latency_ms_p95", "rows_per_second")
    return {
        "summary": markdown(summaries.summarise_export(record)),
        "model": experiment.directory / record.model_dir,
        "size_bytes": record.size_bytes,
        **_rounded(
            {
                "agreement": record.agreement,
                "latency_ms_p50": record.latency_ms_p50,
                "latency_ms_p95": record.latency_ms_p95,
                "rows_per_second": record.rows_per_second,
                **{f"onnx_{name}": getattr(record.onnx, name) for name in names if record.onnx},
            }
        ),
    }


def decision_metadata(record: DecisionRecord) -> Metadata:
    """The verdict, and whether it deploys."""
    return {
        "summary": markdown(summaries.summarise_decision(record)),
        "verdict": str(record.verdict),
        "deploys": record.deploys,
    }


def production_metadata(record: ProductionRecord, experiment: Experiment) -> Metadata:
    """The version in production, and the model card."""
    return {
        "summary": markdown(summaries.summarise_production(record)),
        "moved": record.moved,
        "serving": record.after.version if record.after else "nothing",
        "model_card": experiment.paths.model_card,
    }


def predictions_metadata(record: PredictionsRecord, production_dir: Path) -> Metadata:
    """Counts of the labelled rows by label, and speed."""
    return {
        "summary": markdown(summaries.summarise_predictions(record)),
        "predictions": production_dir / record.file,
        "version": record.version,
        "rows": record.rows,
        "rows_skipped": record.rows_skipped,
        **{f"{clean(label)}_rows": rows for label, rows in record.label_rows.items()},
        **_rounded({"seconds": record.seconds, "rows_per_second": record.rows_per_second}),
    }


def registry_metadata(record: RegistryRecord) -> Metadata:
    """The line of this run."""
    return {
        "summary": markdown(summaries.summarise_registry(record)),
        "registry": Path(record.file),
    }


def debt_metadata(record: TechDebtRecord) -> Metadata:
    """The numbers of new, repeated and resolved items."""
    return {
        "summary": markdown(summaries.summarise_tech_debt(record)),
        "registry": Path(record.file),
        **{kind: len(record.numbers(kind)) for kind in ("new", "repeated", "resolved")},
    }


def report_metadata(record: ReportRecord) -> Metadata:
    """The first page of the report, without its picture; the rest is in the files."""
    page, _, _ = Path(record.file).read_text(encoding="utf-8").partition(CONTENTS)
    return {
        "summary": markdown(without_pictures(page)),
        "page": Path(record.html_file),
        "report": Path(record.file),
    }


def _pictures(experiment: Experiment, **records: Record | None) -> Metadata:
    """The pictures of ``records``, inline."""
    run = RunRecords(manifest=experiment.manifest, config_yaml="", **records)  # type: ignore[arg-type]
    shown: Metadata = {}
    for name, file in draw_pictures(run, experiment.paths.plots).items():
        data = base64.b64encode(on_white(file.read_text(encoding="utf-8")).encode()).decode()
        shown[f"{name}_picture"] = markdown(f"![{name}](data:image/svg+xml;base64,{data})")
    return shown


def _seeds(checkpoint: CheckpointRecord, evaluation: EvaluationRecord | None) -> Metadata:
    """A table of the scores by seed, if there are several seeds."""
    tuned = checkpoint.fine_tuning
    several = tuned and len(tuned.seeds) > 1
    return {"seed_scores": markdown(seeds_table(tuned, evaluation))} if tuned and several else {}


def _table(rows: Iterable[dict[str, str]]) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord({name: clean(cell) for name, cell in row.items()}) for row in rows]
    )


def _rounded(values: Mapping[str, float]) -> Metadata:
    """Numbers with four decimals, which the UI plots over time."""
    return {name: round(float(value), 4) for name, value in values.items()}
