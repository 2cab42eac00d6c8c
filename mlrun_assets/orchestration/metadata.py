"""Metadata for the UI from the records: a Markdown summary, numbers to plot over time, pictures."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.experiment import Experiment
from mlrun_assets.markdown import clean
from mlrun_assets.records import (
    SPLITS,
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
    SplitProfile,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reports import scores, summaries
from mlrun_assets.reports.data_section import checks_table
from mlrun_assets.reports.figure import on_white
from mlrun_assets.reports.plots import draw_pictures
from mlrun_assets.reports.report import first_page
from mlrun_assets.reports.tables import bullets, seeds_table

# Dagster shows a value by its type: Markdown, text, number, path or table.
Metadata = dict[str, Any]
markdown = dg.MetadataValue.md


def experiment_metadata(record: ExperimentRecord, directory: Path) -> Metadata:
    """The experiment's directory, and the earlier runs and open tech debt that it starts with."""
    entries = {
        "experiment": directory.name,
        "directory": directory,
        "prior_runs": record.known_runs,
        "open_tech_debt": record.open_debt_items,
    }
    return _around(summaries.summarise_experiment(record), entries)


def raw_metadata(split: SplitProfile, files: str) -> Metadata:
    """The rows, size and place of the files of a split."""
    return {
        "dagster/row_count": split.rows_read,
        "bytes": split.source_bytes,
        "files": files,
        "digest": split.source_digest,
    }


def dataset_metadata(record: DatasetRecord, experiment: Experiment, data: DataConfig) -> Metadata:
    """Rows, checks, columns and pictures of the data."""
    others = {"helper_rows": record.auxiliary, "unlabelled_texts": record.unlabelled}
    entries = {
        "dagster/row_count": record.rows,
        **{f"{name}_rows": split.rows_kept for name, split in record.splits.items()},
        "quarantined_rows": sum(split.rows_quarantined for split in record.splits.values()),
        **{name: texts.rows_kept for name, texts in others.items() if texts},
        **_columns(experiment, data),
        **{what.replace(" ", "_"): file for what, file in experiment.paths.listed_rows().items()},
        "datasheet": experiment.paths.datasheet,
        **_pictures(experiment, dataset=record),
        "checks": markdown(checks_table(record.checks)),
    }
    return _around(summaries.summarise_dataset(record), entries)


_MEANINGS = {
    "id": "identifier of the row, unique in its split",
    "text": "the text in normal form",
    "label": "the label",
    "file": "the file that the row comes from",
    "line": "its line or row there",
    "language": "the language that the detector found, if it is sure",
    "code_switched": "whether the text mixes two languages",
    "tokens": "length in tokens of the encoder",
    "leaks": "whether the row is known from another split",
}


def _columns(experiment: Experiment, data: DataConfig) -> Metadata:
    """The columns of the train split, and the columns of the raw files that they come from."""
    file = experiment.paths.split("train")
    if not file.exists():  # the checks that come first block
        return {}
    with file.open("rb") as opened:  # polars takes a path for a pattern
        schema = pl.read_parquet_schema(opened)
    columns = [
        dg.TableColumn(name, str(kind), _MEANINGS.get(name, "")) for name, kind in schema.items()
    ]
    read: dict[str, Sequence[str]] = {extra_column(name): (name,) for name in data.extra_columns}
    read |= {"text": data.text_columns, "label": (data.label_column,)}
    lineage = {
        name: [dg.TableColumnDep(f"raw_{split}", source) for split in SPLITS for source in sources]
        for name, sources in read.items()
        if name in schema
    }
    return {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
    }


def plan_metadata(record: TrainingPlan) -> Metadata:
    """The choices with their reasons, and the main settings."""
    lists = {
        "same_plan_before": record.seen_before,
        "rejected_before": record.rejected,
        "advice": [each.sentence for each in record.advice],
    }
    entries = {
        **{name: markdown(bullets(items)) for name, items in lists.items() if items},
        "seeds": len(record.recipes),
        "epochs": record.recipe.epochs,
        "learning_rate": record.recipe.learning_rate,
    }
    return _around(summaries.summarise_plan(record), entries)


def baseline_metadata(record: BaselineRecord) -> Metadata:
    """The scores of the n-gram model, the majority label and the frozen encoder."""
    heads = {"frozen": record.frozen, "helped": record.helped}
    found = {part: head for part, head in heads.items() if head}
    figures = {
        "linear_f1_macro": record.linear.f1_macro.value,
        "linear_accuracy": record.linear.accuracy.value,
        "majority_accuracy": record.majority.accuracy.value,
        **{f"{part}_f1_macro": head.f1_macro for part, head in found.items()},
        "seconds": record.seconds + sum(head.seconds for head in found.values()),
    }
    return _around(summaries.summarise_baseline(record), _rounded(figures))


def checkpoint_metadata(record: CheckpointRecord, experiment: Experiment) -> Metadata:
    """The chosen candidate with its score; time, memory and curve of fine-tuning."""
    tuned, winner = record.fine_tuning, record.winner
    baseline = experiment.find(BaselineRecord)
    figures = {"f1_macro": winner.f1_macro.value, "accuracy": winner.accuracy}
    if tuned:
        last = tuned.history[-1]
        figures |= {
            "encoder_val_f1_macro": last.val_f1_macro,
            "seconds": tuned.seconds,
            "tokens_per_second": tuned.tokens_per_second,
            "peak_memory_mb": tuned.peak_memory_mb,
        }
    entries = {
        "chosen": record.chosen,
        **_rounded(figures),
        **_pictures(experiment, checkpoint=record, baseline=baseline),
        "model": experiment.directory / record.model_dir,
        "parameters": record.parameters,
        "seeds": len(tuned.seeds) if tuned else 0,
        **_seeds(record, None),
    }
    return _around(summaries.summarise_checkpoint(record, baseline), entries)


def evaluation_metadata(record: EvaluationRecord, experiment: Experiment) -> Metadata:
    """Test scores, calibration, slices, rows to label next and pictures."""
    spread = record.over_seeds.model_dump() if record.over_seeds else {}
    calibration = record.calibration
    entries = {
        **_rounded(
            {
                "f1_macro": record.test.f1_macro.value,
                "accuracy": record.test.accuracy.value,
                "f1_weighted": record.test.f1_weighted.value,
            }
        ),
        "test_rows": record.test.rows,
        "test_looks": record.test_looks.looks,
        **_pictures(experiment, evaluation=record),
        **_rounded(
            {
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
    }
    return _around(summaries.summarise_evaluation(record), entries)


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
    entries = {
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
    return _around(summaries.summarise_export(record), entries)


def decision_metadata(record: DecisionRecord) -> Metadata:
    """The verdict, and whether it deploys."""
    entries = {"verdict": str(record.verdict), "deploys": record.deploys}
    return _around(summaries.summarise_decision(record), entries)


def production_metadata(record: ProductionRecord, experiment: Experiment) -> Metadata:
    """The version in production, and the model card."""
    entries = {
        "moved": record.moved,
        "serving": record.after.version if record.after else "nothing",
        "model_card": experiment.paths.model_card,
    }
    return _around(summaries.summarise_production(record), entries)


def predictions_metadata(record: PredictionsRecord, production_dir: Path) -> Metadata:
    """Counts of the labelled rows by label, and speed."""
    entries = {
        "predictions": production_dir / record.file,
        "version": record.version,
        "rows": record.rows,
        "rows_skipped": record.rows_skipped,
        **{f"{clean(label)}_rows": rows for label, rows in record.label_rows.items()},
        **_rounded({"seconds": record.seconds, "rows_per_second": record.rows_per_second}),
    }
    return _around(summaries.summarise_predictions(record), entries)


def registry_metadata(record: RegistryRecord) -> Metadata:
    """The line of this run."""
    return _around(summaries.summarise_registry(record), {"registry": Path(record.file)})


def debt_metadata(record: TechDebtRecord) -> Metadata:
    """The numbers of new, repeated and resolved items."""
    entries = {
        "registry": Path(record.file),
        **{kind: len(record.numbers(kind)) for kind in ("new", "repeated", "resolved")},
    }
    return _around(summaries.summarise_tech_debt(record), entries)


def report_metadata(record: ReportRecord) -> Metadata:
    """The result, the files, and the first page of the report without its picture."""
    page = first_page(Path(record.file).read_text(encoding="utf-8"))
    return {
        "summary": record.sentence,
        "page": Path(record.html_file),
        "markdown": Path(record.file),
        "report": markdown(page),
    }


def _around(summary: str, entries: Metadata) -> Metadata:
    """The sentence of ``summary`` before ``entries``, its table after: the page cuts it off."""
    sentence, _, details = summary.partition("\n\n")
    shown = {"summary": markdown(sentence), **entries}
    return shown | {"details": markdown(details)} if details.strip() else shown


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


def _rounded(values: Mapping[str, float]) -> Metadata:
    """Numbers with four decimals, which the UI plots over time."""
    return {name: round(float(value), 4) for name, value in values.items()}
