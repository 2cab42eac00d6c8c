"""A fresh process that loads a model directory as any user would, and answers.

    python -m mlrun_assets.models.probe MODEL_DIR MAX_LENGTH < texts.json > answers.json

``texts.json`` is a list of texts; ``answers.json`` holds the labels, the seconds that loading took,
the milliseconds of each answer to one text alone, and of several texts how many 64 it answers a
second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlrun_assets.errors import ExportError

# How many texts are timed alone, and how many are answered together for the rows a second.
TEXTS_TIMED = 40
TEXTS_TOGETHER = 64


@dataclass(frozen=True)
class Server:
    """The module that such a process runs, and how messages call it and its failure."""

    module: str
    name: str
    failure: str
    timeout_seconds: int


def ask(server: Server, arguments: list[str], texts: list[str]) -> dict[str, Any]:
    """Start the process with ``arguments``, give it ``texts`` and return what it says.

    Raises:
        ExportError: it fails, or does not answer for every text.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-m", server.module, *arguments],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            timeout=server.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{server.name} did not answer within {server.timeout_seconds} s"
        ) from None
    if result.returncode != 0:
        last = result.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise ExportError(f"{server.failure}: {last[0]}")
    said: dict[str, Any] = json.loads(result.stdout)
    if len(said["labels"]) != len(texts):
        raise ExportError(f"{len(said['labels'])} answers to {len(texts)} texts from {server.name}")
    return said


SERVER = Server(
    module="mlrun_assets.models.probe",
    name="a fresh process",
    failure="a fresh process can't use the model",
    timeout_seconds=600,
)


@dataclass(frozen=True)
class Answers:
    """What the fresh process said."""

    labels: tuple[str, ...]
    load_seconds: float
    latencies_ms: tuple[float, ...]
    rows_per_second: float | None


def ask_fresh_process(model_dir: Path, texts: list[str], max_length: int) -> Answers:
    """Load ``model_dir`` in a new process through ``transformers.pipeline`` and predict ``texts``.

    Raises:
        ExportError: it does not load, or does not answer for every text.
    """
    try:
        said = ask(SERVER, [str(model_dir), str(max_length)], texts)
    except ExportError as error:
        raise ExportError(f"{model_dir}: {error}") from None
    return Answers(
        tuple(said["labels"]),
        said["load_seconds"],
        tuple(said["latencies_ms"]),
        said["rows_per_second"],
    )


def _answer(model_dir: str, max_length: int, texts: list[str]) -> dict[str, object]:
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    started = time.perf_counter()
    from transformers import pipeline

    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    # The only code that is trusted is what this package put beside an n-gram model.
    is_ensemble = (Path(model_dir) / NGRAMS_DIR).is_dir()
    classify = pipeline(
        "text-classification", model=model_dir, device=-1, trust_remote_code=is_ensemble
    )
    load_seconds = time.perf_counter() - started
    settings = {"truncation": True, "max_length": max_length}
    labels = [answer["label"] for answer in classify(texts, batch_size=16, **settings)]
    latencies = []
    for text in texts[:TEXTS_TIMED]:
        started = time.perf_counter()
        classify(text, **settings)
        latencies.append((time.perf_counter() - started) * 1000)
    rows_per_second = None
    if len(texts) > 1:
        together = (texts * TEXTS_TOGETHER)[:TEXTS_TOGETHER]
        started = time.perf_counter()
        classify(together, batch_size=16, **settings)
        rows_per_second = len(together) / (time.perf_counter() - started)
    return {
        "labels": labels,
        "load_seconds": load_seconds,
        "latencies_ms": latencies,
        "rows_per_second": rows_per_second,
    }


if __name__ == "__main__":
    # transformers copies a model's code before it imports it: into one place, which others use too.
    with tempfile.TemporaryDirectory() as modules:
        os.environ["HF_MODULES_CACHE"] = modules
        json.dump(_answer(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)), sys.stdout)
