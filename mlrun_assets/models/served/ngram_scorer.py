"""Scores of an n-gram model that is stored in a model's directory.

This file is copied into that directory, so it imports nothing of its package. A model without
n-grams needs no scikit-learn, so that is imported where it is used.
``ngrams/model.json`` has the vocabularies, ``ngrams/model.safetensors`` the arrays.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Tokenizer

NGRAMS_DIR = "ngrams"


class NgramScorer:
    """The n-gram model in ``model_dir``, and the weights of the ensemble."""

    def __init__(self, model_dir: Path) -> None:
        directory = model_dir / NGRAMS_DIR
        settings = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        arrays = load_file(directory / "model.safetensors")
        self.labels: tuple[str, ...] = tuple(settings["labels"])
        self.encoder_weight: float = settings["encoder_weight"]
        self.ngram_weight: float = settings["ngram_weight"]
        self._normalise = _normalise(settings.get("normaliser"))
        self._words_read: int = settings["words_read"]
        self._weights = arrays["weights"].astype(np.float64)
        self._bias = arrays["bias"].astype(np.float64)
        self._blocks = [
            (_vectorizer(block), arrays.get(f"idf_{number}"))
            for number, block in enumerate(settings["blocks"])
        ]

    def scores(self, texts: list[str]) -> npt.NDArray[np.float64]:
        """Scores of shape (texts, labels), in the order of ``labels``."""
        from scipy.sparse import hstack

        normal = map(self._normalise, texts)
        read = [" ".join(text.split()[: self._words_read]) for text in normal]
        features = hstack([_features(read, *block) for block in self._blocks], format="csr")
        return np.asarray(features @ self._weights.T) + self._bias

    def combine(self, logits: Any, scores: Any) -> Any:
        """The logits of the ensemble; arrays or tensors of shape (texts, labels)."""
        return self.encoder_weight * logits + self.ngram_weight * scores


def _normalise(tokenizer: dict[str, Any] | None) -> Callable[[str], str]:
    """The normalizer of a tokenizer file; None: texts are in normal form."""
    if tokenizer is None:
        return str
    normalise: Callable[[str], str] = Tokenizer.from_str(
        json.dumps(tokenizer)
    ).normalizer.normalize_str
    return normalise


def _vectorizer(block: dict[str, Any]) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(
        analyzer=block["analyzer"],
        ngram_range=tuple(block["ngram_range"]),
        vocabulary={ngram: column for column, ngram in enumerate(block["vocabulary"])},
    )


def _features(texts: list[str], vectorizer: Any, idf: npt.NDArray[np.float32] | None) -> Any:
    """Counts, or with ``idf`` sublinear tf-idf of unit length, sparse, shape (texts, n-grams)."""
    from scipy.sparse import csr_matrix, diags
    from sklearn.preprocessing import normalize

    counts = csr_matrix(vectorizer.transform(texts), dtype=np.float64)
    if idf is None:
        return counts
    counts.data = 1.0 + np.log(counts.data)
    return normalize(counts @ diags(idf.astype(np.float64)))
