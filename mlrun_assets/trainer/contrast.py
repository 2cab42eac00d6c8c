"""The contrastive loss: two spans of one text are alike, those of other texts are not."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize

from mlrun_assets.errors import TrainingError
from mlrun_assets.trainer.failures import Batch, HaltingTrainer, pretraining_not_finite
from mlrun_assets.trainer.span_pairs import EpochsOfPairs

TEMPERATURE = 0.05


def info_nce(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The loss of a batch (van den Oord et al., 2018, "InfoNCE"; Gao et al., 2021).

    A span is its tokens' mean state. Of all second spans of the batch the one of its own text has
    to be the nearest to a first one, by the cosine; and the other way round.

    Args:
        states: of the tokens, shape (2 x pairs, tokens, width), all first spans before all second.
        mask: 1 for tokens, 0 for padding, shape (2 x pairs, tokens).
    """
    with torch.autocast(states.device.type, enabled=False):
        weights = mask.unsqueeze(-1).float()
        means = (states.float() * weights).sum(dim=1) / weights.sum(dim=1)
        first, second = normalize(means, dim=-1).chunk(2)
        alike = first @ second.T / TEMPERATURE
        own = torch.arange(len(first), device=alike.device)
        return (cross_entropy(alike, own) + cross_entropy(alike.T, own)) / 2


class ContrastiveTrainer(HaltingTrainer):
    """Trainer of an encoder without a head, which halts on a loss that is not finite."""

    def __init__(self, row_ids: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        self._row_ids = row_ids
        self.batch: Batch | None = None
        self.loss_is_scaled_for_ga = False  # the loss is the mean of a batch

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The loss of a batch; it is only asked for in training."""
        rows = inputs.pop("row").tolist()
        spans, tokens = inputs["input_ids"].shape
        self.batch = Batch(spans, tokens, tuple(self._row_ids[row] for row in rows))
        loss = info_nce(model(**inputs).last_hidden_state, inputs["attention_mask"])
        self.require_finite(loss)
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochsOfPairs:
        lengths = self.train_dataset.lengths
        return EpochsOfPairs(lengths, self.args.train_batch_size, self.args.seed)

    def not_finite(self, what: str) -> TrainingError:
        step = self.state.global_step + 1
        return TrainingError(pretraining_not_finite(what, step, self.batch, self.args.bf16))
