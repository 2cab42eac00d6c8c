"""Compare training with the stock script: time, memory and quality.

    python benchmarks/training.py DIRECTORY [--text-columns headline text] [--max-length 128]

``DIRECTORY`` has train.jsonl, val.jsonl and test.jsonl. (a) is a Trainer as in transformers'
text-classification example: fp32, padded to the maximum, the whole vocabulary, learning rate 2e-5,
three epochs. (b) is the plan of this project for the same encoder. Only val is evaluated. Each runs
in its own process.

Reported for both: wall time of an epoch with its evaluation, tokens per second without padding,
peak memory, val macro-F1, and the share of the machine's bf16 peak (measured with products of two
2048 x 2048 matrices). Reported for (b): the time until it reaches the final val macro-F1 of (a).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENCODER = "embedded:multilingual-e5-small"
BATCH_SIZE = 16


@dataclass(frozen=True)
class Task:
    """The data that both train on."""

    directory: Path
    text_columns: tuple[str, ...]
    max_length: int
    stock_epochs: int

    def config(self) -> Any:
        """The config of this project: the plan chooses everything but the data."""
        from mlrun_assets.config import Config, LoadedConfig

        paths = {f"{split}_path": f"{split}.jsonl" for split in ("train", "val", "test")}
        skipped = ["split_leakage", "language", "split_drift"]  # published corpora, as they are
        data = {**paths, "text_columns": self.text_columns, "quality": {"skip": skipped}}
        model = {"name": ENCODER, "max_length": self.max_length}
        config = Config.model_validate({"data": data, "model": model})
        return LoadedConfig(settings=config, directory=self.directory)


def train_stock(task: Task) -> dict[str, Any]:
    import numpy as np
    import polars as pl
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

    from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
    from mlrun_assets.encoders.source import resolve_encoder
    from mlrun_assets.metrics import label_numbers, val_metrics

    set_seed(42)
    frames = {
        split: pl.read_ndjson(task.directory / f"{split}.jsonl") for split in ("train", "val")
    }
    labels = tuple(sorted(frames["train"]["label"].unique()))
    source = resolve_encoder(ENCODER, None, task.directory)
    started = time.perf_counter()
    tokenizer = load_tokenizer(source)
    model = load_classifier(source, labels)

    def encoded(frame: pl.DataFrame) -> Dataset:
        texts = frame.select(pl.concat_str(task.text_columns, separator="\n")).to_series().to_list()
        columns = tokenizer(
            texts, padding="max_length", truncation=True, max_length=task.max_length
        )
        return Dataset.from_dict({**columns, "label": label_numbers(frame["label"], labels)})

    splits = {split: encoded(frame) for split, frame in frames.items()}
    epochs: list[dict[str, float]] = []

    class Clock(TrainerCallback):
        def on_evaluate(self, *_: Any, metrics: dict[str, float], **__: Any) -> None:
            seconds = time.perf_counter() - started
            epochs.append({"seconds": seconds, "f1": metrics["eval_f1_macro"]})

    with tempfile.TemporaryDirectory() as output:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=output,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=2e-5,
                num_train_epochs=task.stock_epochs,
                eval_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                seed=42,
            ),
            train_dataset=splits["train"],
            eval_dataset=splits["val"],
            compute_metrics=lambda p: val_metrics(p.label_ids, np.argmax(p.predictions, axis=1)),
            callbacks=[Clock()],
        ).train()
    tokens = int(sum(sum(mask) for mask in splits["train"]["attention_mask"]))
    return _figures(epochs, tokens, model, started)


def train_planned(task: Task) -> dict[str, Any]:
    from transformers import AutoModelForSequenceClassification

    from mlrun_assets.data.validation import token_counter, validate_dataset
    from mlrun_assets.encoders.source import resolve_encoder
    from mlrun_assets.plan.choice import PlanningInputs, observe
    from mlrun_assets.plan.plan import plan_training
    from mlrun_assets.training.fine_tuning import fine_tune
    from mlrun_assets.training.job import FineTuningJob

    loaded = task.config()
    source = resolve_encoder(ENCODER, None, task.directory)
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        dataset = validate_dataset(loaded, directory, token_counter(source), None)
        if not dataset.ready:
            sys.exit("\n".join(check.message for check in dataset.checks if check.blocks))
        hardware = observe(source, task.max_length)
        plan = plan_training(PlanningInputs(loaded.settings, dataset, hardware, ()))
        ends: list[float] = []
        started = time.perf_counter()

        def report(line: str) -> None:
            print(line, file=sys.stderr, flush=True)
            if "val macro-F1" in line:
                ends.append(time.perf_counter() - started)

        job = FineTuningJob(
            recipe=plan.recipe,
            encoder=source,
            labels=dataset.labels,
            data_digest=dataset.digest,
            train_file=directory / dataset.splits["train"].file,
            val_file=directory / dataset.splits["val"].file,
            checkpoints_dir=directory / "checkpoints",
            logs_dir=directory / "logs",
            model_dir=directory / "model",
            report_to=(),
        )
        tuned = fine_tune(job, report)
        model = AutoModelForSequenceClassification.from_pretrained(str(job.model_dir))
    epochs = [
        {"seconds": end, "f1": entry.val_f1_macro}
        for end, entry in zip(ends, tuned.history, strict=True)
    ]
    return _figures(epochs, round(tuned.tokens / len(epochs)), model, started)


def _figures(
    epochs: list[dict[str, float]], tokens: int, model: Any, started: float
) -> dict[str, Any]:
    ends = [epoch["seconds"] for epoch in epochs]
    seconds = statistics.median([end - start for start, end in itertools.pairwise(ends)] or ends)
    layers = sum(
        parameter.numel()
        for name, parameter in model.base_model.named_parameters()
        if not name.startswith("embeddings")
    )
    return {
        "epoch_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        # Forwards and backwards: three products of two operations a weight and token.
        "gflops": 6 * layers * tokens / seconds / 1e9,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "val_f1_macro": max(epoch["f1"] for epoch in epochs),
        "total_seconds": time.perf_counter() - started,
        "epochs": epochs,
    }


def gemm_peak() -> float:
    """GFLOPS of the best of some bf16 products of two large matrices."""
    import torch

    size = 2048
    matrix = torch.ones(size, size, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        torch.matmul(matrix, matrix)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


COMPETITORS = {"stock": train_stock, "plan": train_planned}


def compare(arguments: argparse.Namespace) -> None:
    peak = gemm_peak()
    found = {}
    for name in COMPETITORS:
        run = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--only", name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found[name] = json.loads(run.stdout.splitlines()[-1])
    stock, plan = found["stock"], found["plan"]
    print(f"{arguments.directory.name}, at most {arguments.max_length} tokens")
    print(f"{'':34}{'stock':>12}{'plan':>12}{'ratio':>10}")
    for key in ("epoch_seconds", "tokens_per_second", "peak_memory_mb", "total_seconds"):
        a, b = stock[key], plan[key]
        digits, ratio = int(key == "epoch_seconds"), max(a, b) / min(a, b)
        print(f"{key:34}{a:12,.{digits}f}{b:12,.{digits}f}{ratio:9.1f}x")
    print(f"{'val_f1_macro':34}{stock['val_f1_macro']:12.3f}{plan['val_f1_macro']:12.3f}")
    print(f"{f'share of {peak:,.0f} bf16 GFLOPS':34}", end="")
    print("".join(f"{one['gflops'] / peak:12.1%}" for one in (stock, plan)))
    target = stock["epochs"][-1]["f1"]
    reached = next((one["seconds"] for one in plan["epochs"] if one["f1"] >= target), None)
    if reached is None:
        print(f"the plan never reached the stock script's val macro-F1 of {target:.3f}")
    else:
        seconds = stock["epochs"][-1]["seconds"]
        print(
            f"val macro-F1 {target:.3f}: stock after {seconds:.0f} s, plan after {reached:.0f} s, "
            f"{seconds / reached:.1f} times sooner"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--text-columns", nargs="+", default=["text"])
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--stock-epochs", type=int, default=3)
    parser.add_argument("--only", choices=COMPETITORS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.only:
        compare(arguments)
        return
    task = Task(
        arguments.directory.absolute(),
        tuple(arguments.text_columns),
        arguments.max_length,
        arguments.stock_epochs,
    )
    print(json.dumps(COMPETITORS[arguments.only](task)))


if __name__ == "__main__":
    main()
