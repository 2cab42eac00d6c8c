"""Load a model directory in a fresh process, as a user would, and predict with it.

    echo '["MODEL_DIR", ["a text"]]' | python -m mlrun_assets.models.probe transformers
    echo '["ONNX_DIR", ["a text"]]' | python -m mlrun_assets.models.probe onnx

The input, a directory and texts, is read after the imports, so the process can start before there
is one. The output has the fields of `Answers`. The ONNX mode runs the reader that is stored in
ONNX_DIR and fails if the process imports torch or transformers.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlrun_assets.errors import ExportError

TEXTS_TIMED_ALONE = 40
TEXTS_TIMED_TOGETHER = 64
BATCH_SIZE = 16
TIMEOUT_SECONDS = 1800
UNWANTED = ("torch", "transformers")

Predict = Callable[[list[str]], list[str]]


class Answers(NamedTuple):
    """Labels of the texts, and how fast they came: one text alone, and 64 or more together.

    ``speed`` has ``load_seconds``, ``latency_ms_p50``, ``latency_ms_p95`` and ``rows_per_second``.
    """

    labels: list[str]
    speed: dict[str, float]


def probe_transformers(model_dir: Path, texts: list[str]) -> Answers:
    """Load ``model_dir`` in a new process with ``transformers.pipeline`` and predict ``texts``.

    Raises:
        ExportError: it does not load, or does not return a label for every text.
    """
    try:
        return _probe("transformers", model_dir, texts)
    except ExportError as error:
        raise ExportError(f"{model_dir}: {error}") from None


def probe_onnx(onnx_dir: Path, texts: list[str]) -> Answers:
    """Load ``onnx_dir`` in a new process that never imports torch, and predict ``texts``.

    Raises:
        ExportError: it does not load, does not return a label for every text, or imports torch.
    """
    return _probe("onnx", onnx_dir, texts)


# The process of the next `probe_transformers`, if it was started early.
_waiting: list[subprocess.Popen[str]] = []


def start_early() -> None:
    """Start the process of the next `probe_transformers`: its imports take seconds.

    It ends when this process does, whether it was asked or not.
    """
    if not _waiting:
        _waiting.append(_start("transformers"))


def _started(mode: str) -> subprocess.Popen[str]:
    """The process that was started early, or a new one.

    One that waits may have been killed, such as by Ctrl-C in a notebook or for want of memory.
    """
    while _waiting and mode == "transformers":
        process = _waiting.pop()
        if process.poll() is None:
            return process
        process.communicate()
    return _start(mode)


def _start(mode: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mlrun_assets.models.probe", mode]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _probe(mode: str, directory: Path, texts: list[str]) -> Answers:
    with _started(mode) as process:
        try:
            said, errors = process.communicate(json.dumps([str(directory), texts]), TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"a fresh process with {mode} did not finish within {TIMEOUT_SECONDS} s"
            ) from None
        finally:
            process.kill()
    if process.returncode == -signal.SIGINT:  # Ctrl-C in a terminal interrupts it, too
        raise KeyboardInterrupt
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(f"a fresh process can't use it with {mode}: {last[0]}")
    answers = Answers(*json.loads(said))
    if len(answers.labels) != len(texts):
        raise ExportError(f"{len(answers.labels)} labels for {len(texts)} texts from {mode}")
    return answers


# In the fresh process


def _main(mode: str) -> Answers:
    # transformers copies the code of a model to a cache and imports it from there. A directory of
    # its own keeps this process apart from others.
    with tempfile.TemporaryDirectory() as modules:
        os.environ.update(
            HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_MODULES_CACHE=modules
        )
        started = time.perf_counter()
        if mode == "transformers":
            importlib.import_module("transformers.pipelines")
        import_seconds = time.perf_counter() - started
        directory, texts = json.load(sys.stdin)
        started = time.perf_counter()
        if mode == "onnx":
            sys.path.insert(0, directory)
            reader = importlib.import_module("onnx_classifier").OnnxClassifier(directory)
            predict: Predict = reader.predict
        else:
            predict = _load_transformers(directory)
        load_seconds = import_seconds + time.perf_counter() - started
        labels, speed = _predict(predict, texts)
    if mode == "onnx" and (imported := [name for name in UNWANTED if name in sys.modules]):
        raise SystemExit(f"the process imported {', '.join(imported)}")
    return Answers(labels, {"load_seconds": load_seconds, **speed})


def _load_transformers(model_dir: str) -> Predict:
    from transformers import pipeline

    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    # The only code that is trusted is the code that this package copied beside an n-gram model.
    has_ngrams = (Path(model_dir) / NGRAMS_DIR).is_dir()
    classify = pipeline(
        "text-classification",
        model=model_dir,
        device=-1,
        truncation=True,
        trust_remote_code=has_ngrams,
    )

    def predict(texts: list[str]) -> list[str]:
        # One text is passed as a string: a list would start a data loader and cost latency.
        inputs = texts if len(texts) > 1 else texts[0]
        answers = classify(inputs, batch_size=BATCH_SIZE)
        return [answer["label"] for answer in answers]

    return predict


def _predict(predict: Predict, texts: list[str]) -> tuple[list[str], dict[str, float]]:
    """The labels of ``texts``, and the time that they took.

    The first texts are predicted alone, the others together; if these are fewer than 64, the last
    64 texts are.
    """
    predict(texts[:1])  # the first call takes longer
    alone = [_timed(predict, [text]) for text in texts[:TEXTS_TIMED_ALONE]]
    latencies = [1000 * seconds for _, seconds in alone]
    p50, p95 = np.quantile(latencies, [0.5, 0.95]).tolist()
    start = max(0, min(TEXTS_TIMED_ALONE, len(texts) - TEXTS_TIMED_TOGETHER))
    labels, seconds = _timed(predict, texts[start:])
    firsts = [label for found, _ in alone[:start] for label in found]
    speed = {"latency_ms_p50": p50, "latency_ms_p95": p95}
    return firsts + labels, {**speed, "rows_per_second": len(texts[start:]) / seconds}


def _timed(predict: Predict, texts: list[str]) -> tuple[list[str], float]:
    """The labels of ``texts``, and the seconds that they took."""
    started = time.perf_counter()
    labels = predict(texts)
    return labels, time.perf_counter() - started


if __name__ == "__main__":
    gc.disable()  # this process ends soon, and its imports make a million objects
    json.dump(_main(*sys.argv[1:]), sys.stdout)
    gc.freeze()
