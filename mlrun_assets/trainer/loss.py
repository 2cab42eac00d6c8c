"""The loss, and the Trainer that halts where it, or its gradient, is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from mlrun_assets.errors import TrainingError
from mlrun_assets.records import Recipe
from mlrun_assets.trainer.failures import Batch, HaltingTrainer, not_finite
from mlrun_assets.trainer.row_order import SeededLengthGroups


class WeightedTrainer(HaltingTrainer):
    """Trainer whose loss is cross-entropy with label weights and label smoothing.

    In training each row brings its number (``row``), so that what goes wrong can be traced to the
    rows of its batch. Validation loss is plain cross-entropy: it must not depend on the recipe.
    """

    def __init__(self, recipe: Recipe, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._recipe, self._row_ids = recipe, row_ids
        self.batch: Batch | None = None
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
        self.batch = self._told(inputs.pop("row", None), inputs["input_ids"])
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs.logits.float()
        if model.training:
            loss = cross_entropy(
                logits, labels, weight=self._weights, label_smoothing=self._smoothing
            )
        else:
            loss = cross_entropy(logits, labels)
        self.require_finite(loss)
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(rows)
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return SeededLengthGroups(list(rows["length"]), size, self.args.seed)

    def _told(self, rows: torch.Tensor | None, input_ids: torch.Tensor) -> Batch:
        numbers = [] if rows is None else rows.tolist()
        ids = tuple(self._row_ids[number] for number in numbers)
        rows_padded, tokens = input_ids.shape
        return Batch(rows_padded, tokens, ids)

    def not_finite(self, what: str) -> TrainingError:
        step = self.state.global_step + (1 if self.model.training else 0)
        return TrainingError(not_finite(what, step, self.batch, self._recipe.bf16))
