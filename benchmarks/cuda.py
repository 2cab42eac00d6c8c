"""Compare training and prediction on a CUDA device with the same machine's CPU.

    python benchmarks/cuda.py [ENCODER] [--epochs N]

``ENCODER`` is a model name as in the config: the embedded encoder, or a directory. It is fine-tuned
on ``data/sample`` by the plan for each device, in a process for each; the CPU's process sees no
CUDA device. On CUDA the training is also interrupted after its first checkpoint and taken up again,
and the model is exported. Both processes predict the test split with the model trained on CUDA.

Exits with 1 if there is no CUDA device, or if a resumed training did not continue from its
checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
EMBEDDED = "embedded:multilingual-e5-small"
MAX_LENGTH = 128


class StopError(Exception):
    """Raised at the second validation, when one checkpoint is complete."""


@dataclass(frozen=True)
class Task:
    """The encoder, the number of epochs (None: the plan's), and a directory for both devices."""

    encoder: str
    epochs: int | None
    directory: Path

    def config(self) -> Any:
        """The config of this project: the plan chooses everything but the data."""
        from mlrun_assets.config import Config, LoadedConfig

        paths = {f"{split}_path": f"{split}.jsonl" for split in ("train", "val", "test")}
        # The machine needs no detector of languages, and no cleanlab.
        data = {**paths, "quality": {"skip": ["language", "code_switching", "label_noise"]}}
        model = {"name": self.encoder, "max_length": MAX_LENGTH}
        model["candidates"] = ["encoder"]
        training = {"epochs": self.epochs or "auto", "report_to": []}
        config = Config.model_validate({"data": data, "model": model, "training": training})
        return LoadedConfig(settings=config, directory=SAMPLE)

    def predict(self, device: str) -> None:
        """Predict the test split with the model trained on CUDA, as served and in float32 only."""
        from mlrun_assets.models.predictor import Predictor

        texts = pl.read_ndjson(SAMPLE / "test.jsonl")["text"].to_list()
        model = self.directory / "cuda" / "model"
        for name, exact in (("served", False), ("exact", True)):
            found = Predictor(model, MAX_LENGTH, exact=exact).probabilities(texts)
            np.save(self.directory / f"{device}-{name}.npy", found)


def train_on(device: str, task: Task) -> dict[str, Any]:
    """Train, predict, and on CUDA resume and export; the figures of this process."""
    import torch

    from mlrun_assets.data.validation import token_counter, validate_dataset
    from mlrun_assets.encoders.source import resolve_encoder
    from mlrun_assets.plan.choice import PlanningInputs, observe
    from mlrun_assets.plan.plan import plan_training
    from mlrun_assets.training.train import TrainingRequest

    loaded = task.config()
    source = resolve_encoder(task.encoder, None, Path.cwd())
    dataset = validate_dataset(loaded, task.directory / device, token_counter(source), None)
    if not dataset.ready:
        sys.exit("\n".join(check.message for check in dataset.checks if check.blocks))
    hardware = observe(source, MAX_LENGTH)
    plan = plan_training(PlanningInputs(loaded.settings, dataset, hardware, ()))
    request = TrainingRequest((plan.recipe,), source, loaded.settings)
    record, epoch_seconds = _train(task.directory / device, dataset, request)
    recipe, tuned = plan.recipe, record.fine_tuning
    figures = {
        "device": hardware.accelerator or f"CPU, {torch.get_num_threads()} threads",
        "recipe": f"bf16 {recipe.bf16}, batches of {recipe.batch_size}, {recipe.epochs} epochs",
        "seconds of training": tuned.seconds,
        "seconds of an epoch": epoch_seconds,
        "tokens/s": tuned.tokens_per_second,
        "val macro-F1": tuned.history[-1].val_f1_macro,
        "peak memory, MiB": tuned.peak_memory_mb,
    }
    if device == "cuda":
        figures["peak memory of the device, MiB"] = torch.cuda.max_memory_allocated() / 2**20
        figures |= _resume(task.directory, dataset, request, record)
        figures |= _export(task.directory / device, dataset, record, loaded.settings)
    task.predict(device)
    return figures


def _train(directory: Path, dataset: Any, request: Any, stop_at: int | None = None) -> Any:
    """The record of the checkpoint, and the median seconds of an epoch after the first one."""
    from mlrun_assets.training.train import train_cheap, train_checkpoint

    ends: list[float] = []

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        if "val macro-F1" in line:
            ends.append(time.perf_counter())
            if len(ends) == stop_at:
                raise StopError

    baseline = train_cheap(directory, dataset, request)
    record = train_checkpoint(directory, dataset, baseline, request, report)
    gaps = [end - start for start, end in itertools.pairwise(ends)]
    return record, statistics.median(gaps or [record.fine_tuning.seconds])


def _resume(directory: Path, dataset: Any, request: Any, whole: Any) -> dict[str, Any]:
    """Interrupt the same training, resume it, and compare with the one left alone."""
    from safetensors.numpy import load_file

    resumed_dir = directory / "resumed"
    shutil.copytree(directory / "cuda" / "data", resumed_dir / "data")
    try:
        _train(resumed_dir, dataset, request, stop_at=2)
    except StopError:
        record, _ = _train(resumed_dir, dataset, request)
    else:
        sys.exit("fewer than two epochs: nothing was interrupted")
    tuned = record.fine_tuning
    if not tuned.resumed_from_step:
        sys.exit(f"the training was not resumed: {tuned.passed_over or 'no checkpoint'}")
    one, other = (
        load_file(directory / name / "model" / "model.safetensors") for name in ("cuda", "resumed")
    )
    losses = [[entry.val_loss for entry in each.fine_tuning.history] for each in (whole, record)]
    return {
        "resumed from step": f"{tuned.resumed_from_step} of {tuned.steps}",
        "resumed: largest difference of val losses": float(np.abs(np.subtract(*losses)).max()),
        "resumed: largest difference of weights": max(
            float(np.abs(one[name] - other[name]).max()) for name in one
        ),
    }


def _export(directory: Path, dataset: Any, record: Any, settings: Any) -> dict[str, Any]:
    from mlrun_assets.models.export import export_model

    language = settings.data.language
    exported = export_model(directory, dataset, record, settings.deployment, language)
    return {
        "export: val rows with the same label": exported.agreement,
        "ONNX: val rows with the same label": exported.onnx.agreement if exported.onnx else None,
        "export: ms a text (median)": exported.latency_ms_p50,
    }


def compare() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        found = {}
        for device, hidden in (("cuda", {}), ("cpu", {"CUDA_VISIBLE_DEVICES": ""})):
            run = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--only", device, "--in", temporary],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **hidden},
                check=False,
            )
            if run.returncode:
                sys.exit(run.returncode)
            found[device] = json.loads(run.stdout.splitlines()[-1])
        for key, value in found["cuda"].items():
            print(f"{key:45}{_shown(value):>34}{_shown(found['cpu'].get(key, '')):>34}")
        print("the model trained on CUDA on the test split, CUDA and CPU:")
        for name in ("exact", "served"):
            one, other = (np.load(f"{temporary}/{device}-{name}.npy") for device in found)
            same = float((one.argmax(axis=1) == other.argmax(axis=1)).mean())
            apart = float(np.abs(one - other).max())
            print(f"  {name:8}{same:.1%} same labels, probabilities at most {apart:.2g} apart")


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", nargs="?", default=EMBEDDED)
    parser.add_argument("--epochs", type=int, help="at least 2; the plan's if left out")
    parser.add_argument("--only", choices=("cuda", "cpu"), help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        task = Task(arguments.encoder, arguments.epochs, arguments.directory)
        print(json.dumps(train_on(arguments.only, task)))
        return
    import torch

    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible to torch: this benchmark needs one")
    compare()


if __name__ == "__main__":
    main()
