"""A fresh process that loads a model directory as any user would, and answers.

    python -m mlrun_assets.trainer.probe MODEL_DIR MAX_LENGTH < texts.json > answers.json

``texts.json`` is a list of texts; ``answers.json`` holds the labels, the seconds that loading took,
the milliseconds of each answer to one text alone, and of several texts how many 64 it answers a
second.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.errors import ExportError
from mlrun_assets.fresh_process import TEXTS_TIMED, TEXTS_TOGETHER, Server, ask

SERVER = Server(
    module="mlrun_assets.trainer.probe",
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

    from mlrun_assets.ngrams.ngram_scorer import NGRAMS_DIR

    # The only code that is trusted is what this package put beside an n-gram model.
    mixed = (Path(model_dir) / NGRAMS_DIR).is_dir()
    classify = pipeline("text-classification", model=model_dir, device=-1, trust_remote_code=mixed)
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
