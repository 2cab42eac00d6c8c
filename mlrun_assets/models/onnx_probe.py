"""A fresh process without torch that serves an ``onnx/`` directory and answers.

    python -m mlrun_assets.models.onnx_probe ONNX_DIR < texts.json > answers.json

It runs the reader that lies in the directory, as a user would.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrun_assets.models.probe import TEXTS_TIMED, TEXTS_TOGETHER, Server, ask

SERVER = Server(
    module="mlrun_assets.models.onnx_probe",
    name="onnxruntime",
    failure="a fresh process can't serve it with onnxruntime",
    timeout_seconds=1800,
)
# What a process that serves ONNX is to do without.
UNWANTED = ("torch", "transformers", "mlrun_assets.trainer")


@dataclass(frozen=True)
class OnnxAnswers:
    """What the fresh process said, and how fast: one text alone, and 64 together."""

    labels: tuple[str, ...]
    load_seconds: float
    latency_ms_p50: float
    latency_ms_p95: float
    rows_per_second: float


def ask_without_torch(onnx_dir: Path, texts: list[str]) -> OnnxAnswers:
    """Serve ``onnx_dir`` in a new process that never imports torch, and predict ``texts``.

    Raises:
        ExportError: it does not load, does not answer for every text, or needed torch.
    """
    said = ask(SERVER, [str(onnx_dir)], texts)
    return OnnxAnswers(labels=tuple(said.pop("labels")), **said)


def _answer(onnx_dir: str, texts: list[str]) -> dict[str, object]:
    started = time.perf_counter()
    sys.path.insert(0, onnx_dir)
    classifier = importlib.import_module("onnx_classifier").OnnxClassifier(onnx_dir)
    load_seconds = time.perf_counter() - started
    labels = classifier.predict(texts)
    latencies = [_seconds(classifier, [text]) * 1000 for text in texts[:TEXTS_TIMED]]
    together = (texts * TEXTS_TOGETHER)[:TEXTS_TOGETHER]
    rows_per_second = len(together) / _seconds(classifier, together)
    imported = [name for name in UNWANTED if name in sys.modules]
    if imported:
        raise SystemExit(f"the process imported {', '.join(imported)}")
    p50, p95 = np.quantile(latencies, [0.5, 0.95])
    return {
        "labels": labels,
        "load_seconds": load_seconds,
        "latency_ms_p50": float(p50),
        "latency_ms_p95": float(p95),
        "rows_per_second": rows_per_second,
    }


def _seconds(classifier: Any, texts: list[str]) -> float:
    started = time.perf_counter()
    classifier.predict(texts)
    return time.perf_counter() - started


if __name__ == "__main__":
    json.dump(_answer(sys.argv[1], json.load(sys.stdin)), sys.stdout)
