"""Probabilities for texts, in batches of like length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.errors import ExportError
from mlrun_assets.ngrams.ngram_scorer import NGRAMS_DIR, NgramScorer

TOKENS_A_BATCH = 4096
Floats = npt.NDArray[np.float64]


class Predictor:
    """A trained model directory, ready to predict.

    Raises:
        ExportError: the directory holds no model that can be loaded.
    """

    def __init__(self, model_dir: Path, max_length: int) -> None:
        self._tokenizer, self._model = _load(model_dir)
        self._ngrams = _ngrams(model_dir)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device).eval()
        self._max_length = max_length

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the probabilities."""
        names: dict[int, str] = self._model.config.id2label
        return tuple(names[number] for number in sorted(names))

    def probabilities(self, texts: list[str]) -> Floats:
        """Probabilities, shape (texts, labels), in the order of ``texts``."""
        logits = self.logits(texts)
        if self._ngrams:
            logits = self._ngrams.mix(logits, self._ngrams.scores(texts))
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    def logits(self, texts: list[str]) -> Floats:
        """The encoder's own logits, shape (texts, labels), in the order of ``texts``."""
        encoded = self._tokenizer(texts, truncation=True, max_length=self._max_length)["input_ids"]
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
        logits = np.zeros((len(texts), len(self.labels)))
        with torch.inference_mode():
            for rows in batches_of_like_length(lengths, TOKENS_A_BATCH):
                batch = self._tokenizer.pad(
                    {"input_ids": [encoded[row] for row in rows]}, return_tensors="pt"
                ).to(self._device)
                logits[rows] = self._model(**batch).logits.double().cpu().numpy()
        return logits


def _ngrams(model_dir: Path) -> NgramScorer | None:
    """The n-gram model beside the encoder, where there is one."""
    if not (model_dir / NGRAMS_DIR).is_dir():
        return None
    try:
        return NgramScorer(model_dir)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ExportError(f"{model_dir}: its n-gram model can't be loaded: {error}") from error


def _load(model_dir: Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    with quiet_transformers():
        try:
            return (
                AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True),
                AutoModelForSequenceClassification.from_pretrained(
                    str(model_dir), use_safetensors=True, local_files_only=True
                ),
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"{model_dir}: can't be loaded: {reason}") from error


def batches_of_like_length(
    lengths: npt.NDArray[np.int64], tokens: int
) -> list[npt.NDArray[np.int64]]:
    """Row numbers, longest first, in batches of at most ``tokens`` tokens with the padding."""
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches
