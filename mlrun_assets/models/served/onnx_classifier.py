"""Labels for texts with onnxruntime, tokenizers and numpy: no torch, no transformers.

    from onnx_classifier import OnnxClassifier

    OnnxClassifier("onnx").predict(["Kooxdu waxay dhalisay laba gool."])

This file is copied beside the model that it reads, so it imports nothing of its package. A model
with n-grams needs safetensors too.
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

BATCH_SIZE = 16


class OnnxClassifier:
    """The model in ``directory``, ready to predict.

    Texts are cut at the same length as by the checkpoint: the tokenizer file holds the limit.
    """

    def __init__(self, directory: str | Path, threads: int | None = None) -> None:
        place = Path(directory)
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        names = config["id2label"]
        self.labels: tuple[str, ...] = tuple(names[number] for number in sorted(names, key=int))
        self.accept_confidence: float | None = config["accept_confidence"]
        self._tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads()
        self._session = onnxruntime.InferenceSession(
            str(place / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._ngrams = _ngram_scorer(place) if config["ngrams"] else None

    def predict(self, texts: list[str]) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[number] for number in self.probabilities(texts).argmax(axis=1)]

    def predict_or_abstain(self, texts: list[str]) -> list[tuple[str, bool | None]]:
        """The most probable label of each text, and whether it is accepted.

        None: the model has no confidence threshold.
        """
        found, limit = self.probabilities(texts), self.accept_confidence
        labels = [self.labels[number] for number in found.argmax(axis=1)]
        confidences = found.max(axis=1).tolist()
        accepted = [None if limit is None else value >= limit for value in confidences]
        return list(zip(labels, accepted, strict=True))

    def probabilities(self, texts: list[str]) -> npt.NDArray[np.float64]:
        """Probabilities of shape (texts, labels), in the order of ``labels``."""
        logits = self._logits(texts)
        if self._ngrams:
            logits = self._ngrams.combine(logits, self._ngrams.scores(texts))
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    def _logits(self, texts: list[str]) -> npt.NDArray[np.float64]:
        """The encoder's logits; texts of similar length share a batch."""
        logits = np.zeros((len(texts), len(self.labels)))
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            encoded = self._tokenizer.encode_batch([texts[row] for row in rows])
            feed = {
                "input_ids": np.array([text.ids for text in encoded], dtype=np.int64),
                "attention_mask": np.array([text.attention_mask for text in encoded], np.int64),
            }
            logits[rows] = self._session.run(["logits"], feed)[0]
        return logits


def _threads() -> int:
    """As many threads as torch uses. onnxruntime counts all CPUs of the machine, allowed or not."""
    if limit := os.environ.get("OMP_NUM_THREADS"):
        return int(limit)
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ngram_scorer(place: Path) -> Any:
    """The n-gram model, by the copy of its code in ``place``."""
    spec = importlib.util.spec_from_file_location("ngram_scorer", place / "ngram_scorer.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{place}: ngram_scorer.py can't be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NgramScorer(place)
