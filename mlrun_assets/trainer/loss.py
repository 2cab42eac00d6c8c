"""The loss, and the Trainer that halts where it is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer

from mlrun_assets.errors import TrainingError
from mlrun_assets.records import Recipe


class WeightedTrainer(Trainer):
    """Trainer whose loss is cross-entropy with label weights and label smoothing.

    In training each row brings its number (``row``), so that a loss that is not finite can be
    traced to the rows of its batch. Validation loss is plain cross-entropy: it must not depend on
    the recipe.
    """

    def __init__(self, recipe: Recipe, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._row_ids = row_ids
        self._smoothing = recipe.label_smoothing
        self._weights = (
            torch.tensor(recipe.class_weights, device=self.args.device)
            if recipe.class_weights
            else None
        )
        # The loss is the mean of a batch; the Trainer divides it when it accumulates.
        self.loss_is_scaled_for_ga = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch, and the outputs where they are asked for."""
        rows = inputs.pop("row", None)
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs.logits.float()
        if model.training:
            loss = cross_entropy(
                logits, labels, weight=self._weights, label_smoothing=self._smoothing
            )
            if not torch.isfinite(loss):
                self._halt(rows)
        else:
            loss = cross_entropy(logits, labels)
        return (loss, outputs) if return_outputs else loss

    def _halt(self, rows: torch.Tensor | None) -> None:
        numbers = [] if rows is None else rows.tolist()
        named = ", ".join(self._row_ids[number] for number in numbers)
        raise TrainingError(
            f"the loss is not finite at step {self.state.global_step + 1}, in the batch of rows "
            f"{named}: lower training.learning_rate, or set training.bf16 to false"
        )
