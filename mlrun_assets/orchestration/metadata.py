"""Metadata for the UI from the records: a Markdown summary, numbers to plot over time, pictures."""

import base64
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from mlrun_assets.experiment import Experiment
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    PredictionsRecord,
    PretrainingRecord,
    ProductionRecord,
    RegistryRecord,
    ReportRecord,
    RunRecords,
    SeedSpread,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reports import summaries
from mlrun_assets.reports.figure import thumbnail
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.scores import (
    calibration_sentence,
    label_next_sentence,
    parts_comparison,
    parts_table,
    slices_table,
)
from mlrun_assets.reports.tables import bullets, seeds_table

# The event log keeps about four times the size of an inline picture, run after run.
INLINE_PICTURE_BYTES = 40_000

Metadata = dict[str, dg.MetadataValue]


def experiment_metadata(record: ExperimentRecord, directory: Path) -> Metadata:
    """The experiment's directory, and the earlier runs and open tech debt that it starts with."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_experiment(record)),
        "experiment": dg.MetadataValue.text(directory.name),
        "directory": dg.MetadataValue.path(directory),
        "prior_runs": dg.MetadataValue.int(len(record.prior_runs)),
        "open_tech_debt": dg.MetadataValue.int(len(record.open_debt)),
    }


def dataset_metadata(record: DatasetRecord, experiment: Experiment) -> Metadata:
    """Rows, sizes, checks and pictures of the data."""
    pictures = _draw(
        experiment, RunRecords(manifest=experiment.manifest, config_yaml="", dataset=record)
    )
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_dataset(record)),
        **_counts({f"{name}_rows": split.rows_kept for name, split in record.splits.items()}),
        **_counts({f"{name}_bytes": split.source_bytes for name, split in record.splits.items()}),
        "quarantined_rows": dg.MetadataValue.int(
            sum(split.rows_quarantined for split in record.splits.values())
        ),
        **_counts({"unlabelled_texts": record.unlabelled.rows_kept} if record.unlabelled else {}),
        "checks": _table(
            [
                {"check": check.name, "outcome": str(check.outcome), "found": check.message}
                for check in record.checks
            ]
        ),
        "quarantine": dg.MetadataValue.path(experiment.directory / record.quarantine_file),
        "datasheet": dg.MetadataValue.path(experiment.paths.datasheet),
        **_pictures(pictures, ("labels", "lengths", "fit")),
    }


def plan_metadata(record: TrainingPlan) -> Metadata:
    """The choices with their reasons, and the main settings."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_plan(record)),
        "choices": _table(
            [
                {
                    "setting": choice.key,
                    "value": choice.value,
                    "from": choice.source,
                    "reason": choice.reason,
                    "evidence": choice.evidence,
                }
                for choice in record.choices
            ]
        ),
        **_lists(
            {
                "same_plan_before": record.seen_before,
                "rejected_before": record.rejected,
                "advice": tuple(each.sentence for each in record.advice),
            }
        ),
        "seeds": dg.MetadataValue.int(len(record.recipes)),
        "epochs": dg.MetadataValue.int(record.recipe.epochs),
        "learning_rate": dg.MetadataValue.float(record.recipe.learning_rate),
    }


def baseline_metadata(record: BaselineRecord) -> Metadata:
    """The scores of the n-gram model and of the majority label."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_baseline(record)),
        **_floats(
            {
                "linear_accuracy": record.linear.accuracy.value,
                "linear_f1_macro": record.linear.f1_macro.value,
                "majority_accuracy": record.majority.accuracy.value,
                "seconds": record.seconds,
            }
        ),
    }


def checkpoint_metadata(record: CheckpointRecord, experiment: Experiment) -> Metadata:
    """Time, memory, val scores and the training curve."""
    pictures = _draw(
        experiment,
        RunRecords(
            manifest=experiment.manifest,
            config_yaml="",
            checkpoint=record,
            baseline=experiment.find(BaselineRecord),
        ),
    )
    best = max(record.history, key=lambda entry: entry.val_f1_macro)
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_checkpoint(record)),
        "model": dg.MetadataValue.path(experiment.directory / record.model_dir),
        **_counts(
            {
                "steps": record.steps,
                "parameters": record.parameters,
                "seeds": max(1, len(record.seeds)),
            }
        ),
        **_floats(
            {
                "val_f1_macro": best.val_f1_macro,
                "val_accuracy": best.val_accuracy,
                "seconds": record.seconds,
                "tokens_per_second": record.tokens_per_second,
                "peak_memory_mb": record.peak_memory_mb,
                **_pretraining(record.pretraining),
            }
        ),
        **_seeds(record, None),
        **_pictures(pictures, ("training",)),
    }


def _pretraining(record: PretrainingRecord | None) -> dict[str, float]:
    """Seconds of pretraining, and its loss in the first and the last epoch."""
    if record is None:
        return {}
    names = ("seconds", "first_loss", "last_loss")
    return {f"pretraining_{name}": getattr(record, name) for name in names}


def evaluation_metadata(record: EvaluationRecord, experiment: Experiment) -> Metadata:
    """Test scores, calibration, slices, rows to label next and pictures."""
    pictures = _draw(
        experiment,
        RunRecords(manifest=experiment.manifest, config_yaml="", evaluation=record),
    )
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_evaluation(record)),
        "test_rows": dg.MetadataValue.int(record.test.rows),
        **_counts({"test_looks": record.test_looks.looks} if record.test_looks else {}),
        **_floats(
            {
                "accuracy": record.test.accuracy.value,
                "f1_macro": record.test.f1_macro.value,
                "f1_weighted": record.test.f1_weighted.value,
                "calibration_error": record.calibration.error,
                "rows_per_second": record.rows_per_second,
                **_spreads(record.over_seeds),
            }
        ),
        **_without_leaks(record),
        **_calibration(record),
        **_seeds(experiment.load(CheckpointRecord), record),
        **_parts(record),
        "predictions": dg.MetadataValue.path(experiment.directory / record.predictions_file),
        **_label_next(record, experiment.directory),
        **_pictures(pictures, ("confusion", "per_class", "reliability")),
    }


def _without_leaks(record: EvaluationRecord) -> Metadata:
    """The scores without the test rows that leak from other splits, if there are any."""
    clean = record.test_without_leaks
    if clean is None:
        return {}
    return _counts({"leaking_test_rows": record.test.rows - clean.rows}) | _floats(
        {
            "accuracy_without_leaks": clean.accuracy.value,
            "f1_macro_without_leaks": clean.f1_macro.value,
        }
    )


def _calibration(record: EvaluationRecord) -> Metadata:
    """How far the probabilities can be believed, in words and numbers."""
    numbers = ("temperature", "error_scaled", "brier", "brier_scaled")
    values = {name: getattr(record.calibration, name) for name in numbers}
    values["error_by_chance"] = record.calibration.chance.mean
    return {"calibration": dg.MetadataValue.md(calibration_sentence(record))} | _floats(
        {name.replace("error", "calibration_error"): value for name, value in values.items()}
    )


def _parts(record: EvaluationRecord) -> Metadata:
    """The slices, and the recall of both compared models by label and slice."""
    comparison = parts_comparison(record)
    found: Metadata = {}
    if record.slices:
        found["slices"] = dg.MetadataValue.md(slices_table(record))
    if comparison.labels or comparison.slices:
        found["recall_by_part"] = dg.MetadataValue.md(parts_table(comparison))
    return found


def _label_next(record: EvaluationRecord, directory: Path) -> Metadata:
    """The rows to label next, and why."""
    why = label_next_sentence(record)
    if why is None:
        return {}
    return {
        "label_next": dg.MetadataValue.path(directory / record.label_next_file),
        "label_next_why": dg.MetadataValue.md(why),
    }


def _spreads(spread: SeedSpread | None) -> dict[str, float]:
    """Mean and standard deviation of each score over the seeds."""
    if spread is None:
        return {}
    return {
        f"{name}_{part}": value
        for name, values in spread.model_dump().items()
        for part, value in values.items()
    }


def export_metadata(record: ExportRecord, experiment: Experiment) -> Metadata:
    """Size, speed and agreement of the exported model and of its ONNX form."""
    kept = record.kept_onnx
    more = {"rows_per_second": record.rows_per_second}
    if kept:
        more |= {
            "onnx_size_bytes": kept.size_bytes,
            "onnx_agreement": kept.agreement,
            "onnx_val_f1_macro": kept.val_f1_macro,
            "onnx_latency_ms_p95": kept.latency_ms_p95,
            "onnx_rows_per_second": kept.rows_per_second,
        }
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_export(record)),
        "model": dg.MetadataValue.path(experiment.directory / record.model_dir),
        "size_bytes": dg.MetadataValue.int(record.size_bytes),
        **_floats(
            {
                "agreement": record.agreement,
                "latency_ms_p50": record.latency_ms_p50,
                "latency_ms_p95": record.latency_ms_p95,
                **more,
            }
        ),
    }


def decision_metadata(record: DecisionRecord) -> Metadata:
    """The verdict, and whether it deploys."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_decision(record)),
        "verdict": dg.MetadataValue.text(str(record.verdict)),
        "deploys": dg.MetadataValue.bool(record.deploys),
    }


def production_metadata(record: ProductionRecord, experiment: Experiment) -> Metadata:
    """The version in production, and the model card."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_production(record)),
        "moved": dg.MetadataValue.bool(record.moved),
        "serving": dg.MetadataValue.text(record.after.version if record.after else "nothing"),
        "model_card": dg.MetadataValue.path(experiment.paths.model_card),
    }


def predictions_metadata(record: PredictionsRecord, production_dir: Path) -> Metadata:
    """Counts of the labelled rows by label, and speed."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_predictions(record)),
        "predictions": dg.MetadataValue.path(production_dir / record.file),
        "version": dg.MetadataValue.text(record.version),
        **_counts({"rows": record.rows, "rows_skipped": record.rows_skipped}),
        **_counts({f"{label}_rows": rows for label, rows in record.label_rows.items()}),
        **_floats({"seconds": record.seconds, "rows_per_second": record.rows_per_second}),
    }


def registry_metadata(record: RegistryRecord) -> Metadata:
    """The line of this run."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_registry(record)),
        "registry": dg.MetadataValue.path(record.file),
    }


def debt_metadata(record: TechDebtRecord) -> Metadata:
    """The numbers of new, repeated and resolved items."""
    return {
        "summary": dg.MetadataValue.md(summaries.summarise_tech_debt(record)),
        "registry": dg.MetadataValue.path(record.file),
        **_counts({kind: len(record.numbers(kind)) for kind in ("new", "repeated", "resolved")}),
    }


def report_metadata(record: ReportRecord) -> Metadata:
    """The report without its pictures: the other assets show them."""
    lines = Path(record.file).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("!["))
    return {
        "summary": dg.MetadataValue.md(text),
        "report": dg.MetadataValue.path(record.file),
        "page": dg.MetadataValue.path(record.html_file),
    }


def _draw(experiment: Experiment, records: RunRecords) -> dict[str, Path]:
    return draw_pictures(records, experiment.paths.plots)


def _pictures(pictures: Mapping[str, Path], names: tuple[str, ...]) -> Metadata:
    """A small inline version of each picture, and the path of the full one."""
    shown: Metadata = {}
    for name in names:
        if name in pictures:
            data = base64.b64encode(thumbnail(pictures[name], INLINE_PICTURE_BYTES)).decode()
            shown[f"{name}_picture"] = dg.MetadataValue.md(
                f"![{name}](data:image/png;base64,{data})"
            )
            shown[f"{name}_file"] = dg.MetadataValue.path(pictures[name])
    return shown


def _lists(lists: Mapping[str, tuple[str, ...]]) -> Metadata:
    """The lists that are not empty, as bullets."""
    return {name: dg.MetadataValue.md(bullets(items)) for name, items in lists.items() if items}


def _seeds(checkpoint: CheckpointRecord, evaluation: EvaluationRecord | None) -> Metadata:
    """A table of the scores by seed, if there are several seeds."""
    if len(checkpoint.seeds) < 2:
        return {}
    return {"seed_scores": dg.MetadataValue.md(seeds_table(checkpoint, evaluation))}


def _table(rows: list[dict[str, str]]) -> dg.MetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def _counts(values: Mapping[str, int]) -> Metadata:
    return {name: dg.MetadataValue.int(int(value)) for name, value in values.items()}


def _floats(values: Mapping[str, float]) -> Metadata:
    """Numbers with four decimals, which the UI plots over time."""
    return {name: dg.MetadataValue.float(round(float(value), 4)) for name, value in values.items()}
