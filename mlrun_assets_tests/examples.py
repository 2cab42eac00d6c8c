"""Example records, texts, encoders and projects for all tests.

places    where the sample and the published corpora are
texts     rows of the sample, Somali and English sentences, datasets for the checks
encoder   a tiny encoder, and projects that train it
records   records as small as a test needs them
plans     a laptop, a small data set and earlier runs
jobs      a training job of a second
finished  experiments with all records, that have not run
serving   a model in production whose labels follow from the words of a text
"""

from __future__ import annotations

import functools
import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from mlrun_assets import records as r
from mlrun_assets.config import (
    CheckName,
    Config,
    DataConfig,
    EvaluationConfig,
    LoadedConfig,
    ModelConfig,
    parse_config,
)
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.language import add_language
from mlrun_assets.data.checks.suite import CHECKS, run_check
from mlrun_assets.data.reading import SplitRows, normalise_rows
from mlrun_assets.data.text import language_profile
from mlrun_assets.data.validation import TokenCounts
from mlrun_assets.decision.verdict import blocked, conclude, decide
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.experiment import Experiment, create_experiment, take_directory
from mlrun_assets.files import digest_directory
from mlrun_assets.metrics import score as score_predictions
from mlrun_assets.models import probe
from mlrun_assets.plan.choice import Hardware, PlanningInputs
from mlrun_assets.plan.plan import plan_training
from mlrun_assets.production.pointer import Reason, promote, read_production
from mlrun_assets.production.versions import Challenger
from mlrun_assets.reports import plots
from mlrun_assets.runs import promotion as promoting
from mlrun_assets.training.job import FineTuningJob, FineTuningResult
from mlrun_assets_tests import forks

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"
SHARED = Path(os.environ.get("MLRUN_SHARED", ROOT.parent / "shared"))

EXAMPLE_RUN = Path(__file__).with_name("example_run.json")

MakeProject = Callable[..., Path]


# --- texts


def sample_rows(split: str) -> list[dict[str, str]]:
    lines = (SAMPLE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def count_words(texts: list[str]) -> TokenCounts:
    """A tokenizer of one token a word, all known."""
    words = np.array([len(text.split()) for text in texts], dtype=np.int64)
    return TokenCounts(words, 0 * words)


SOMALI = (
    "Ciyaartoyda kooxda qaranka ayaa maanta tababar ku qaatay garoonka magaalada Muqdisho.",
    "Wasaaradda caafimaadka ayaa sheegtay in la tallaalay kumanaan carruur ah sannadkan.",
    "Beeralaydu waxay sheegeen in roobka deyrtu uu sannadkan ka fiicnaa kii hore.",
    "Xildhibaannada baarlamaanka ayaa maanta ka doodaya miisaaniyadda cusub ee dowladda.",
)
ENGLISH = (
    "The national team trained in the stadium of the capital city this morning.",
    "The ministry of health said that thousands of children were vaccinated this year.",
)


def split_of(name: str, texts: Sequence[str], data: DataConfig, **columns: Any) -> SplitRows:
    frame = pl.DataFrame(
        {
            "id": [f"{name}-{number}" for number in range(len(texts))],
            "text": list(texts),
            "label": ["ab"[number % 2] for number in range(len(texts))],
            **columns,
        },
        schema_overrides={"id": pl.String, "text": pl.String, "label": pl.String},
    )
    rows = SplitRows(name, f"{name}.jsonl", frame)
    rows, _ = normalise_rows(rows, language_profile(data.language).steps)
    rows.frame = add_language(rows.frame, data).with_columns(
        tokens=pl.col("text").str.count_matches(r"\S+").cast(pl.Int64),
        unknown=pl.lit(0, dtype=pl.Int64),
    )
    return rows


def dataset_of(train: Sequence[str], data: DataConfig, **columns: Any) -> Dataset:
    """``train`` with ``columns``, val and test in Somali."""
    other = {name: [values[0]] * len(SOMALI) for name, values in columns.items()}
    splits = {
        "train": split_of("train", train, data, **columns),
        "val": split_of("val", SOMALI, data, **other),
        "test": split_of("test", SOMALI, data, **other),
    }
    return Dataset(splits, ("a", "b"), None, 128, data)


def check_texts(name: CheckName, train: Sequence[str], **settings: Any) -> r.QualityCheck:
    """What the check says of ``train``; ``settings`` are those of ``data.quality``."""
    data = DataConfig(language=settings.pop("language", "som"), quality=settings)
    return run_check(name, CHECKS[name], dataset_of(train, data)).check


# --- encoder


def settled(pieces: list[tuple[str, float]], special: int) -> list[tuple[str, float]]:
    """Trained Unigram pieces in an order and with scores that are the same each time.

    The trainer goes through a hash table: sums differ in their last digits from process to process,
    letters that it must keep are numbered as they come, each 0.0001 behind the one before, and what
    is equally likely changes places. That is other ids for the same texts, and another model.
    """
    rounded = [(piece, round(score, 2)) for piece, score in pieces[special:]]
    return [*pieces[:special], *sorted(rounded, key=lambda each: (-each[1], each[0]))]


def build_encoder(directory: Path) -> Path:
    """A BERT of two narrow layers with a Unigram tokenizer, as a plain transformers directory."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        [row["text"] for row in sample_rows("train")],
        trainers.UnigramTrainer(
            vocab_size=600,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    trained = [tuple(each) for each in json.loads(tokenizer.to_str())["model"]["vocab"]]
    tokenizer.model = models.Unigram(settled(trained, special=4), unk_id=3)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=64,
    ).save_pretrained(str(directory))
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            pad_token_id=1,
            # At 0.02, the default, the first token's state hardly depends on the others in so
            # narrow a model: it would say one label to all texts, whatever it is taught.
            initializer_range=0.2,
        )
    ).save_pretrained(str(directory))
    return directory


def write_project(
    directory: Path, encoder: Path, rows: int = 60, **sections: dict[str, Any]
) -> Path:
    """A config and a part of the sample in ``directory``; returns the config file.

    With so few rows, `auto` would not fine-tune; the encoder is the only candidate.
    """
    generator = random.Random(0)
    for split, count in (("train", rows), ("val", rows // 2), ("test", rows // 2)):
        write_rows(
            directory / "data" / f"{split}.jsonl",
            generator.sample(sample_rows(split), min(count, len(sample_rows(split)))),
        )
    config: dict[str, dict[str, Any]] = {
        "data": {f"{split}_path": f"data/{split}.jsonl" for split in ("train", "val", "test")},
        "model": {
            "name": str(encoder),
            "num_labels": 3,
            "max_length": 32,
            "candidates": ["encoder"],
        },
        "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "bf16": False},
        # ONNX takes seconds: one run has it.
        "deployment": {"min_accuracy": 0.0, "min_f1": 0.0, "beats_baseline": "off", "onnx": False},
    }
    for name, section in sections.items():
        config.setdefault(name, {}).update(section)
    file = directory / "ml_config.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


DIRTY_CONFIG = """
data: {train_path: data/train.jsonl, val_path: data/val.jsonl, test_path: data/test.jsonl,
  unlabelled_path: data/unlabelled.jsonl, slice_columns: [source], licence: cc-by-4.0}
model: {name: ./encoder, num_labels: 3, max_length: 32}
training: {epochs: 40, batch_size: 16, learning_rate: 5e-3, bf16: false, seeds: [13, 42],
  freeze: none, label_smoothing: 0.0}
deployment: {min_accuracy: 0.85, min_f1: 0.82, max_latency_ms: 50}
"""


def _few(rows: list[dict[str, str]], label: str, keep: int) -> list[dict[str, str]]:
    """The rows, of those with ``label`` the first ``keep``."""
    scarce = [row for row in rows if row["label"] == label]
    return [row for row in rows if row not in scarce[keep:]]


def write_dirty_project(directory: Path) -> Path:
    """A project with few rows of one label, faulty rows and texts without labels.

    The encoder is expected in ``directory / "encoder"``.
    """
    train, val, test = (
        _few(sample_rows(split), "health", keep)
        for split, keep in zip(r.SPLITS, (24, 12, 12), strict=True)
    )
    rows, unlabelled = train[:240], train[240:]
    rows[0] = {**rows[0], "text": rows[0]["text"].replace("'", "\u2019") + " Wuu ku\u2019raacay."}
    sources = {
        "train": [
            *rows,
            {"id": "empty", "text": " ", "label": "sports"},
            {**rows[1], "id": "again"},
        ],
        "val": val,
        "test": test,
        "unlabelled": [{"text": row["text"]} for row in (*unlabelled, unlabelled[0], val[0])],
    }
    for name, found in sources.items():
        for number, row in enumerate(found):
            row["source"] = ("radio", "paper")[number % 2]
        write_rows(directory / "data" / f"{name}.jsonl", found)
    file = directory / "ml_config.yaml"
    file.write_text(DIRTY_CONFIG, encoding="utf-8")
    return file


# --- records


def score(value: float, half: float = 0.05) -> r.Score:
    return r.Score(value=value, low=value - half, high=value + half)


@functools.cache
def full_run() -> r.RunRecords:
    """The records of a run whose model was rejected; `reports.regenerate_golden` wrote them."""
    return TypeAdapter(r.RunRecords).validate_json(EXAMPLE_RUN.read_bytes())


def record_of(stage: str, **changes: Any) -> Any:
    """The record of a stage of the full run, with ``changes``; a field of `RunRecords`."""
    return getattr(full_run(), stage).model_copy(update=changes)


def split_profile(label_rows: dict[str, int], **changes: Any) -> r.SplitProfile:
    rows = sum(label_rows.values())
    facts = {
        "source_digest": "sha256:1",
        "rows_read": rows,
        "rows_kept": rows,
        "rows_quarantined": 0,
        "label_rows": label_rows,
        "tokens_median": 20.0,
        "tokens_p95": 40.0,
        "tokens_max": 60,
        "truncated_fraction": 0.0,
        "tokens_per_word_by_label": {},
    }
    return record_of("dataset").splits["train"].model_copy(update={**facts, **changes})


def dataset_record(train: dict[str, int], **changes: Any) -> r.DatasetRecord:
    profile = split_profile(train, **changes)
    return r.DatasetRecord(
        name="som",
        ready=True,
        digest="sha256:data",
        labels=tuple(train),
        splits=dict.fromkeys(r.SPLITS, profile),
        checks=(),
        quarantine_reasons={},
        quarantine_file="data/quarantine.jsonl",
        max_length=128,
    )


_VAL = {"val_f1_macro": 0.8, "val_accuracy": 0.85}


def seed_result(seed: int, **changes: Any) -> r.SeedResult:
    facts = {"seed": seed, "model_dir": "model", "digest": "sha256:model", **_VAL}
    return tuned_record().seeds[0].model_copy(update={**facts, **changes})


def tuned_record(**changes: Any) -> r.FineTuningRecord:
    tuned = record_of("checkpoint").fine_tuning
    assert tuned
    return tuned.model_copy(update=changes)


def checkpoint_record(**changes: Any) -> r.CheckpointRecord:
    """A checkpoint whose encoder was fine-tuned for one epoch; ``changes`` may be of the tuning."""
    epoch = tuned_record().history[0].model_copy(update=_VAL)
    tuned = {"seed": 42, "seeds": (seed_result(42),), "history": (epoch,)}
    tuned |= {
        name: changes.pop(name) for name in list(changes) if name in r.FineTuningRecord.model_fields
    }
    facts = {"digest": "sha256:model", "fine_tuning": tuned_record(**tuned)}
    return record_of("checkpoint", **{**facts, **changes})


def scores_of(confusion: Sequence[Sequence[int]], labels: tuple[str, ...]) -> r.Scores:
    """The product's scores of predictions with this confusion matrix, rows by true label."""
    counts = np.asarray(confusion)
    truth, guess = (
        np.repeat(where, counts.ravel()) for where in np.indices(counts.shape).reshape(2, -1)
    )
    return score_predictions(truth, guess, labels, EvaluationConfig(), 0)


@functools.cache
def _scores_of_two(right: int) -> r.Scores:
    return scores_of(((right, 50 - right), (50 - right, right)), ("a", "b"))


def scores(accuracy: float, f1: float, half: float = 0.05) -> r.Scores:
    """Scores of 100 rows of two labels, with these values ± ``half``."""
    values = {"accuracy": accuracy, "f1_macro": f1, "f1_weighted": f1}
    return _scores_of_two(round(50 * accuracy)).model_copy(
        update={name: score(value, half) for name, value in values.items()}
    )


def comparison(difference: r.Score | None, against: str = "n-gram baseline") -> r.Comparison:
    facts = {
        "against": against,
        "comparable": difference is not None,
        "reason": "the same rows" if difference else "production knows other labels",
        "other_f1": score(0.8),
        "f1_difference": difference,
        "labels": (),
        "slices": (),
    }
    return record_of("evaluation").baseline.model_copy(update=facts)


def part_comparison(name: str, loss: r.Score, rows: int = 40) -> r.SliceComparison:
    """A label or slice on which production had a recall of 0.9."""
    recall = 0.9 - loss.value
    return r.SliceComparison(name=name, rows=rows, recall=recall, other_recall=0.9, loss=loss)


def evaluation_record(
    accuracy: float = 0.9,
    f1: float = 0.9,
    baseline: r.Score | None = None,
    production: r.Comparison | None = None,
) -> r.EvaluationRecord:
    return record_of(
        "evaluation",
        labels=("a", "b"),
        val=scores(accuracy, f1),
        test=scores(accuracy, f1),
        slices=(),
        baseline=comparison(baseline or score(0.1)),
        production=production,
        seeds=(),
        over_seeds=None,
        test_looks=r.LookCount(looks=1, max_looks=10, confidence=0.95),
    )


def export_record(agreement: float = 1.0) -> r.ExportRecord:
    return record_of("export", digest="sha256:export", agreement=agreement)


def version_record(**changes: Any) -> r.ProductionVersion:
    facts = {
        "version": "exp_1",
        "experiment": "exp_1",
        "report": "impl-ml-run-one-20261123",
        "digest": "sha256:files",
        "labels": ("a", "b"),
        "max_length": 32,
        "promoted_at": "2026-11-23T03:15:00Z",
        "accuracy": 0.9,
        "f1": 0.9,
    }
    return r.ProductionVersion.model_validate({**facts, **changes})


def onnx_export(**changes: object) -> r.OnnxExport:
    return record_of("export").onnx.model_copy(update=changes)


# --- plans

LAPTOP = Hardware(
    encoder_digest="sha256:encoder",
    accelerator=None,
    available_memory_gb=8.0,
    bf16_speedup=2.0,
    hidden_size=384,
    layers=12,
    positions=512,
    vocabulary=250_002,
    untrimmable=None,
    trained_by_mean=True,
    can_freeze=True,
)
EQUAL = {"a": 200, "b": 200}


def planning_inputs(
    train: dict[str, int] | None = None,
    hardware: Hardware = LAPTOP,
    prior: tuple[r.PriorRun, ...] = (),
    profile: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> PlanningInputs:
    """One in which every rule has something to look at; ``profile`` changes the splits'."""
    dataset = dataset_record(train or EQUAL, **(profile or {}))
    return PlanningInputs(Config(**sections), dataset, hardware, prior)  # type: ignore[arg-type]


def plan(*arguments: Any, **keywords: Any) -> r.TrainingPlan:
    """The plan for a `planning_inputs`."""
    return plan_training(planning_inputs(*arguments, **keywords))


def choice(of: r.TrainingPlan, key: str) -> r.Choice:
    """The choice at a key of the config, named by its last part."""
    return next(each for each in of.choices if each.key.rpartition(".")[2] == key)


def prior_run(report: str = "impl-ml-run-x-20261123", **changes: Any) -> r.PriorRun:
    """A run on the same data, by the recipe of the defaults."""
    facts: dict[str, Any] = {
        "report": report,
        "status": "Complete",
        "experiment": f"exp_{report}",
        "summary": "macro-F1 0.812",
        "labels": ("a", "b"),
        "data_name": "som",
        "data_digest": "sha256:data",
        "comparable_digest": plan().recipe.comparable_digest,
        "learning_rate": 1e-4,
        "val_digest": "sha256:1",
        "val_f1_macro": 0.8,
    }
    return r.PriorRun(**{**facts, **changes})


# --- jobs

LABELS = ("farming", "health", "sports")
RECIPE = r.Recipe(
    encoder="tiny",
    revision=None,
    encoder_digest="sha256:",  # the start of every digest
    max_length=32,
    trim_vocabulary=False,
    pooling="first",
    batch_size=8,
    learning_rate=2e-3,
    epochs=3,
    seed=1,
    warmup_fraction=0.1,
    weight_decay=0.01,
    layerwise_decay=0.9,
    label_smoothing=0.1,
    class_weights=(1.0, 1.5, 0.5),
    bf16=False,
    freeze="none",
    group_by_length=True,
)


def tiny_job(directory: Path, encoder: Path) -> FineTuningJob:
    """Six steps an epoch, three epochs, everything below ``directory``."""
    directory.mkdir(exist_ok=True)
    for split in ("train", "val"):
        pl.DataFrame(sample_rows(split)[:48]).write_parquet(directory / f"{split}.parquet")
    return FineTuningJob(
        recipe=RECIPE,
        encoder=resolve_encoder(str(encoder), None, directory),
        labels=LABELS,
        data_digest="sha256:data",
        train_file=directory / "train.parquet",
        val_file=directory / "val.parquet",
        checkpoints_dir=directory / "checkpoints",
        logs_dir=directory / "logs",
        model_dir=directory / "model",
        report_to=("tensorboard",),
    )


def write_splits(
    directory: Path, splits: dict[str, list[dict[str, str]]], labels: tuple[str, ...]
) -> r.DatasetRecord:
    """Write the splits to ``data/`` in ``directory``, as validation does."""
    profiles = {}
    (directory / "data").mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        pl.DataFrame(rows).write_parquet(directory / "data" / f"{name}.parquet")
        counts = {label: sum(row["label"] == label for row in rows) for label in labels}
        profiles[name] = split_profile(counts, file=f"data/{name}.parquet")
    changes = {"splits": profiles, "max_length": 32}
    return dataset_record(dict.fromkeys(labels, 1)).model_copy(update=changes)


def changed(job: FineTuningJob, **recipe: Any) -> FineTuningJob:
    return replace(job, recipe=job.recipe.model_copy(update=recipe))


def fine_tuning_result(f1: float = 0.8, loss: float = 0.5, **changes: Any) -> FineTuningResult:
    """The first of two epochs has a better score than the last, which is kept."""
    last = r.EpochMetrics(
        epoch=2.0, step=2, train_loss=1.0, val_loss=loss, val_accuracy=0.9, val_f1_macro=f1
    )
    first = last.model_copy(update={"epoch": 1.0, "step": 1, "val_f1_macro": 0.9})
    facts: dict[str, Any] = {
        "history": (first, last),
        "steps": 2,
        "resumed_from_step": None,
        "passed_over": (),
        "tokens": 100,
        "seconds": 1.0,
        "peak_memory_mb": 1.0,
        "trim": None,
    }
    return FineTuningResult(**{**facts, **changes})


def weights(model_dir: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(model_dir / "model.safetensors"))


# --- runs

TINY_MACHINE = replace(LAPTOP, hidden_size=32, layers=2, positions=64, vocabulary=600)


def changed_run(stage: str, **changes: Any) -> r.RunRecords:
    """The full run with ``changes`` to the record of ``stage``, a field of `RunRecords`."""
    return replace(full_run(), **{stage: record_of(stage, **changes)})


def run_with_model(chosen: str, **changes: Any) -> r.RunRecords:
    """The full run with another chosen candidate, which was tried beside the n-gram model.

    ``changes`` are those to the record of the n-gram model.
    """
    run = full_run()
    assert run.checkpoint and run.evaluation
    ngrams, *_, last = run.checkpoint.candidates
    ngrams = ngrams.model_copy(update=changes)
    weights = dict.fromkeys(chosen.split("+"), 1.0)
    other = last.model_copy(update={"name": chosen, "weights": weights})
    tried = (ngrams,) if chosen == "ngrams" else (ngrams, other)
    found = {"chosen": chosen, "candidates": tried}
    if "encoder" not in weights:
        found["fine_tuning"] = None
    checkpoint = run.checkpoint.model_copy(update=found)
    evaluation = run.evaluation.model_copy(update={"chosen": chosen})
    return replace(run, checkpoint=checkpoint, evaluation=evaluation)


def plan_again(run: r.RunRecords) -> r.TrainingPlan:
    """The plan of the run's data by the product, on a laptop."""
    assert run.dataset and run.plan and run.experiment
    digest = run.plan.recipe.encoder_digest
    machine = replace(TINY_MACHINE, encoder_digest=digest, trained_by_mean=False)
    config = parse_config(run.config_yaml)
    return plan_training(PlanningInputs(config, run.dataset, machine, run.experiment.prior_runs))


def decide_again(run: r.RunRecords) -> r.DecisionRecord:
    """The decision on the run's scores and exported model by the product."""
    assert run.evaluation and run.export
    config = parse_config(run.config_yaml)
    return decide(run.evaluation, run.export, config.deployment, run.manifest.id)


def ended(status: r.Status, error: str | None, *reached: str) -> r.RunRecords:
    """The full run as it looks when only the stages in ``reached`` have left a record."""
    manifest = record_of("manifest", status=status, error=error)
    kept = {name: record_of(name) for name in ("experiment", *reached)}
    return r.RunRecords(manifest=manifest, config_yaml=full_run().config_yaml, **kept)


def blocked_run() -> r.RunRecords:
    """A run whose data a check blocks."""
    run = ended(r.Status.BLOCKED, None, "dataset")
    assert run.dataset
    passed = next(check for check in run.dataset.checks if check.name == "split_leakage")
    message = "7 rows of test stand in train too: remove them from train"
    facts = {"outcome": r.CheckOutcome.FAILED, "severity": r.Severity.ERROR, "message": message}
    leak = passed.model_copy(update={**facts, "value": 7.0, "rows": 7})
    checks = tuple(leak if check is passed else check for check in run.dataset.checks)
    verdict = blocked(f"{leak.name}: {leak.message}")
    found = run.dataset.model_copy(update={"ready": False, "checks": checks})
    return replace(run, dataset=found, decision=verdict)


def failed_run() -> r.RunRecords:
    error = "trained_checkpoint: the loss is not finite\n  rows: a1, a2\nlower the learning rate"
    return ended(r.Status.FAILED, error, "dataset", "plan", "baseline")


def cancelled_run() -> r.RunRecords:
    return ended(r.Status.CANCELLED, "cancelled in trained_checkpoint", "dataset", "plan")


def empty_run() -> r.RunRecords:
    """A run that was interrupted before its first record."""
    return replace(ended(r.Status.INTERRUPTED, None), experiment=None)


RUNS = {
    "full": full_run,
    "blocked": blocked_run,
    "failed": failed_run,
    "cancelled": cancelled_run,
    "empty": empty_run,
}
POISON = (
    "</td><script>alert(1)</script> | x | [a](http://b) ![c](http://d/e.png) <http://f> `g` **h**\n"
    "# heading\n- item\n```\n> quote\n***\n| a | b |\n| - | - |\n&lt;i&gt; $j$ ~~k~~ \u202e\\"
    "\u2066\u200b\x1b[31m\x9b -->\n- [ ] **TD-999**: fake\n  - **Source:** impl-ml-run-a-20261123\\"
)
_OURS = {"rule", "f1_kind", "chosen", "source"}  # names that this package gives, and looks for


def poisoned(run: r.RunRecords) -> r.RunRecords:
    """The same run with `POISON` behind every string in it, keys included."""
    fields = {name: _poison(value) for name, value in vars(run).items()}
    return r.RunRecords(**fields)  # type: ignore[arg-type]


def _poison(value: object) -> object:
    if isinstance(value, r.CandidateRecord):
        return value  # it has no other strings than such names
    if isinstance(value, r.Record):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        fields |= {name: _poison(found) for name, found in fields.items() if name not in _OURS}
        return type(value).model_validate(fields)
    if isinstance(value, dict):
        return {_poison(key): _poison(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_poison(item) for item in value)
    return value + POISON if isinstance(value, str) and not isinstance(value, Enum) else value


def relabelled(run: r.RunRecords, labels: tuple[str, ...]) -> r.RunRecords:
    """The same run on other labels, of which the last has no rows in test."""
    assert run.dataset and run.evaluation
    size = len(labels)
    matrix = np.fromfunction(lambda row, column: (row * column) % 3, (size, size), dtype=int)
    np.fill_diagonal(matrix, 9)
    matrix[0, 1] = 1
    matrix[-1] = 0
    rows = {label: 3 + place for place, label in enumerate(labels)}
    fit = dict.fromkeys(labels, 1.8)
    splits = {
        name: part.model_copy(update={"label_rows": rows, "tokens_per_word_by_label": fit})
        for name, part in run.dataset.splits.items()
    }
    test = scores_of(matrix.tolist(), labels)
    return replace(
        run,
        dataset=run.dataset.model_copy(update={"labels": labels, "splits": splits}),
        evaluation=run.evaluation.model_copy(update={"labels": labels, "test": test}),
    )


# --- finished


def project(directory: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    """A project whose models are not loaded, and whose reports are without pictures."""
    monkeypatch.setattr(promoting, "probe", lambda model_dir: None)
    monkeypatch.setattr(plots, "draw_pictures", lambda records, directory: {})
    config = Config(
        data=DataConfig(licence="cc-by-4.0"), model=ModelConfig(name="FacebookAI/xlm-roberta-base")
    )
    file = directory / "ml_config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    return LoadedConfig(settings=config, directory=directory, file=file)


def finished(
    config: LoadedConfig,
    name: str,
    verdict: r.Verdict = r.Verdict.APPROVED,
    *changed: r.Record,
    day: int = 23,
) -> Experiment:
    """An experiment with all records, those of ``changed`` in the place of the usual ones.

    It was compared with what serves now.
    """
    run = full_run()
    assert run.evaluation and run.export and run.decision
    serving = read_production(config.production_dir)
    against = comparison(score(0.043, 0.039), serving.version) if serving else None
    directory = take_directory(config.experiments_dir, datetime(2026, 11, day, tzinfo=UTC))
    manifest = run.manifest.model_copy(
        update={
            "id": directory.name,
            "name": name,
            "original_name": None,
            "report": f"impl-ml-run-{name}-20261123",
        }
    )
    experiment = create_experiment(directory, manifest, config)
    (directory / "export").mkdir()
    (directory / "export" / "weights").write_text(name)
    (directory / "export" / "config.json").write_text("{}")
    digest = digest_directory(directory / "export")
    advised = conclude((), config.settings.deployment, directory.name)
    advice = advised.model_dump(include={"next_steps", "promotion"})
    for record in (
        run.experiment,
        run.dataset,
        run.plan,
        run.baseline,
        run.checkpoint,
        run.evaluation.model_copy(update={"production": against}),
        run.export.model_copy(update={"digest": digest}),
        run.decision.model_copy(update={"verdict": verdict, **advice}),
        *changed,
    ):
        assert record is not None
        experiment.save(record)
    return experiment


def deployed(config: LoadedConfig, name: str) -> Experiment:
    """An experiment that is approved, and in production."""
    experiment = finished(config, name)
    promoting.promote_by_hand(experiment, config, None, "Hodan")
    return experiment


# --- serving


def answer_here(mode: str, directory: Path, texts: list[str]) -> probe.Answers:
    """What a probe of transformers answers, without its fresh process."""
    assert mode == "transformers"
    predict = probe._load_transformers(str(directory))
    labels, speed = probe._predict(predict, texts)
    return probe.Answers(labels, {"load_seconds": 0.1, **speed})


def probe_here() -> None:
    """In a process that a test starts: exported models are loaded in it."""
    probe._probe, probe.start_early = answer_here, lambda: None


_probe = probe._probe


def answer_in_a_fork(mode: str, directory: Path, texts: list[str]) -> probe.Answers:
    """What a probe answers in a process that has imported torch; without torch if it must."""
    if mode == "onnx":
        return _probe(mode, directory, texts)
    with tempfile.TemporaryDirectory() as place:
        asked, output = Path(place, "asked"), Path(place, "answered")
        asked.write_text(json.dumps([str(directory), texts]))
        words = "mlrun_assets.models.probe", mode
        ended = forks.run(*words, cwd=directory, output=output, stdin=asked)
    assert ended.returncode == 0, ended.stderr
    return probe.Answers(*json.loads(ended.stdout))


WORD_LABELS = ("farming", "sports")
WORDS = {"farming": "beer", "sports": "gool"}


def word_model(directory: Path, encoder: Path) -> Path:
    """An untrained encoder that does not count, and an n-gram model that knows two words."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from mlrun_assets.models.ngrams import SVM, count_ngrams, fit, save_model, set_weights

    names = dict(enumerate(WORD_LABELS))
    AutoModelForSequenceClassification.from_pretrained(
        str(encoder), id2label=names, label2id={label: at for at, label in names.items()}
    ).save_pretrained(str(directory))
    AutoTokenizer.from_pretrained(str(encoder)).save_pretrained(str(directory))
    texts = [f"waa {WORDS[label]} iyo" for label in WORD_LABELS for _ in range(4)]
    vectorizers, blocks = count_ngrams(texts)
    truth = np.repeat(np.arange(len(WORD_LABELS)), 4)
    fitted = fit(SVM, blocks, truth, len(WORD_LABELS), seed=1)
    save_model(fitted, vectorizers, WORD_LABELS, directory)
    set_weights(directory, 0.0, 1.0)
    return directory


def serve_words(
    home: Path, encoder: Path, text_columns: tuple[str, ...] | None = None, **sections: Any
) -> Path:
    """Put that model into production below ``home``; returns the config file."""
    model_dir = word_model(home / "exported", encoder)
    candidate = Challenger(
        model_dir=model_dir,
        experiment="exp_1",
        report="impl-ml-run-words-20261123",
        digest=digest_directory(model_dir),
        labels=WORD_LABELS,
        max_length=32,
        accuracy=0.9,
        f1=0.9,
        text_columns=text_columns,
    )
    promote(home / "production", candidate, lambda *_: Reason("a test", "nobody"), lambda _: None)
    config = home / "ml_config.yaml"
    config.write_text(json.dumps(sections), encoding="utf-8")
    return config
