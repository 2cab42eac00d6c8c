"""Probabilities for texts, in batches of like length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mlrun_assets.arrays import FloatArray, IntArray, Probabilities, RowNumbers
from mlrun_assets.encoders.quiet import quiet_transformers
from mlrun_assets.errors import ExportError
from mlrun_assets.ngrams.ngram_scorer import NGRAMS_DIR, NgramScorer
from mlrun_assets.trainer.cpu_training import tune_for_cpu
from mlrun_assets.trainer.ids_read import ids_read

# What fits into a CPU's cache; an accelerator wants more at once.
TOKENS_A_BATCH = {"cpu": 1024, "cuda": 16_384}
# Labels whose logits lie closer together are told apart in float32 (docs/decisions/009).
CLOSE_CALL = 0.25


class Predictor:
    """A trained model directory, ready to predict.

    On a CPU that multiplies bfloat16 in hardware, texts are read in bfloat16 first, and again in
    float32 where two labels are a close call: twice as fast or more, labels that are float32's in
    all but the rarest cases, and probabilities within a hundredth, of one text in a hundred within
    some. ``exact`` reads all in float32: for what is held against another form of the same model,
    and for differences as small as a word's.

    Raises:
        ExportError: the directory holds no model that can be loaded.
    """

    def __init__(self, model_dir: Path, max_length: int, exact: bool = False) -> None:
        self._tokenizer, self._model = _load(model_dir)
        self._ngrams = _ngrams(model_dir)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device).eval()
        self._max_length = max_length
        self._drafts = not exact and self._device.type == "cpu" and _multiplies_bfloat16()
        if self._drafts:
            tune_for_cpu(self._model, bf16=True)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the probabilities."""
        names: dict[int, str] = self._model.config.id2label
        return tuple(names[number] for number in sorted(names))

    def probabilities(self, texts: list[str]) -> Probabilities:
        """Probabilities, shape (texts, labels), in the order of ``texts``."""
        encoded = self._encode(texts)
        scores = self._ngrams.scores(texts) if self._ngrams else None
        mixed = self._mix(self._logits(encoded, draft=self._drafts), scores)
        if self._drafts:
            weight = self._ngrams.encoder_weight if self._ngrams else 1.0
            close = np.flatnonzero(_margins(mixed) < CLOSE_CALL * weight)
            exact = self._logits([encoded[row] for row in close], draft=False)
            mixed[close] = self._mix(exact, None if scores is None else scores[close])
        exponent = np.exp(mixed - mixed.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    def logits(self, texts: list[str]) -> FloatArray:
        """The encoder's own logits in float32, shape (texts, labels), in the order of ``texts``."""
        return self._logits(self._encode(texts), draft=False)

    def _mix(self, logits: FloatArray, scores: FloatArray | None) -> FloatArray:
        if self._ngrams is None or scores is None:
            return logits
        return np.asarray(self._ngrams.mix(logits, scores))

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return ids_read(self._tokenizer, texts, self._max_length)

    def _logits(self, encoded: list[list[int]], draft: bool) -> FloatArray:
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
        logits = np.zeros((len(encoded), len(self.labels)))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=draft):
            for rows in batches_of_like_length(lengths, TOKENS_A_BATCH[self._device.type]):
                batch = self._tokenizer.pad(
                    {"input_ids": [encoded[row] for row in rows]}, return_tensors="pt"
                ).to(self._device)
                logits[rows] = self._model(**batch).logits.double().cpu().numpy()
        return logits


def _margins(logits: FloatArray) -> FloatArray:
    """How far the second best label is behind the best, shape (texts,)."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0])


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it; without, bfloat16 is slower than float32."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


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


def batches_of_like_length(lengths: IntArray, tokens: int) -> list[RowNumbers]:
    """Row numbers, longest first, in batches of at most ``tokens`` tokens with the padding."""
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches
