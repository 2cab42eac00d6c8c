"""Scores of an n-gram model that is stored in a model's directory.

This file is copied into that directory, so it imports nothing of its package. It needs numpy,
safetensors and tokenizers. ``ngrams/model.json`` has the vocabularies, ``ngrams/model.safetensors``
the arrays.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

NGRAMS_DIR = "ngrams"
WORD = re.compile(r"\b\w\w+\b")


class NgramScorer:
    """The n-gram model in ``model_dir``, and the weights of n-grams and encoder."""

    def __init__(self, model_dir: Path) -> None:
        directory = model_dir / NGRAMS_DIR
        settings = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "model.safetensors")
        self.labels: tuple[str, ...] = tuple(settings["labels"])
        self.encoder_weight: float = settings["encoder_weight"]
        self.ngram_weight: float = settings["ngram_weight"]
        self._normalise = _normalise(settings.get("normaliser"))
        self._words_read: int = settings["words_read"]
        self._bias = arrays["bias"].astype(np.float64)
        weights, start = np.ascontiguousarray(arrays["weights"].T), 0
        self._blocks = []
        for number, block in enumerate(settings["blocks"]):
            end = start + len(block["vocabulary"])
            self._blocks.append(_Block(block, weights[start:end], arrays.get(f"idf_{number}")))
            start = end

    def scores(self, texts: list[str]) -> npt.NDArray[np.float64]:
        """Scores of shape (texts, labels), in the order of ``labels``."""
        scores = np.tile(self._bias, (len(texts), 1))
        for row, text in enumerate(map(self._normalise, texts)):
            words = text.split(maxsplit=self._words_read)[: self._words_read]
            read = " ".join(words).lower()
            for block in self._blocks:
                scores[row] += block.scores(read)
        return scores

    def combine(self, logits: Any, scores: Any) -> Any:
        """Weighted sum of logits and scores; arrays or tensors of shape (texts, labels)."""
        return self.encoder_weight * logits + self.ngram_weight * scores


class _Block:
    """N-grams of one kind: their columns, their weights (n-grams, labels), and maybe their idf."""

    def __init__(
        self, block: dict[str, Any], weights: npt.NDArray[Any], idf: npt.NDArray[Any] | None
    ) -> None:
        self._column = {ngram: column for column, ngram in enumerate(block["vocabulary"])}
        self._in_words = block["analyzer"] == "char_wb"
        self._shortest, self._longest = block["ngram_range"]
        self._weights, self._idf = weights, idf

    def scores(self, text: str) -> npt.NDArray[np.float64]:
        """Scores of shape (labels,): of counts, or with idf of sublinear tf-idf of unit length."""
        ngrams = self._characters(text) if self._in_words else WORD.findall(text)
        counted = Counter(map(self._column.get, ngrams))
        del counted[None]  # n-grams that training did not have
        columns = np.fromiter(counted.keys(), np.int64, len(counted))
        values = np.fromiter(counted.values(), np.float64, len(counted))
        if self._idf is not None and len(columns):
            values = (1.0 + np.log(values)) * self._idf[columns]
            values /= np.linalg.norm(values)
        return np.asarray(values @ self._weights[columns].astype(np.float64))

    def _characters(self, text: str) -> Iterator[str]:
        """The n-grams of each word with a space on both sides, as scikit-learn's ``char_wb``."""
        for word in text.split():
            padded = f" {word} "
            for size in range(self._shortest, self._longest + 1):
                yield padded[:size]
                if size >= len(padded):
                    break  # a short word counts once
                for start in range(1, len(padded) - size + 1):
                    yield padded[start : start + size]


def _normalise(tokenizer: dict[str, Any] | None) -> Callable[[str], str]:
    """The normalizer of a tokenizer file; None: texts are in normal form."""
    if tokenizer is None:
        return str
    normalise: Callable[[str], str] = Tokenizer.from_str(
        json.dumps(tokenizer)
    ).normalizer.normalize_str
    return normalise
