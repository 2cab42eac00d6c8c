"""The text-classification pipeline of a model with an encoder and n-grams.

This file is copied into the directory of the model, where transformers finds it by the config:
``pipeline("text-classification", model=DIRECTORY, trust_remote_code=True)``. transformers refuses
to load the model without that consent, so the encoder never predicts alone by mistake.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import TextClassificationPipeline

from .ngram_scorer import NgramScorer

SCORES = "ngram_scores"


class EnsemblePipeline(TextClassificationPipeline):
    """Adds the scores of the n-grams to the logits of the encoder."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._ngrams = NgramScorer(Path(self.model.config.name_or_path))

    def preprocess(self, inputs: Any, **tokenizer_settings: Any) -> Any:
        """Tokens of one text, cut at the limit, and its n-gram scores of shape (1, labels)."""
        encoded = super().preprocess(inputs, **{"truncation": True, **tokenizer_settings})
        text = inputs["text"] if isinstance(inputs, dict) else inputs
        encoded[SCORES] = torch.from_numpy(self._ngrams.scores([text])).float()
        return encoded

    def _forward(self, model_inputs: Any) -> Any:
        scores = model_inputs.pop(SCORES)
        outputs = super()._forward(model_inputs)
        outputs["logits"] = self._ngrams.combine(outputs["logits"].float(), scores)
        return outputs
