"""Several processes train as one: the same batches and the same loss, whatever their number.

Each process computes a part of every batch, and the gradients are averaged over the processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers.trainer_utils import EvalLoopOutput

from mlrun_assets.trainer.loss import WeightedTrainer


class DataParallelTrainer(WeightedTrainer):
    """A Trainer of one process, or of several that compute what one would.

    What is left of a difference: sums in another order, padding to the longest row of a part of the
    batch, and dropout, which each process draws for itself.
    """

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch; in training, this process's part of that of the whole batch."""
        if not model.training or self.args.world_size == 1:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        own = self._own_rows(len(inputs["labels"]))
        # A process without a row computes one that does not count: all must take part.
        part = {name: value[: max(1, own)] for name, value in inputs.items()}
        labels = part["labels"][:own]
        loss, outputs = super().compute_loss(model, part, True, num_items_in_batch)
        loss = loss * self._share(labels)
        return (loss, outputs) if return_outputs else loss

    def _own_rows(self, given: int) -> int:
        """How many of the rows that this process was ``given`` count.

        accelerate fills up the last batch of an epoch with rows that were in the first one.
        """
        batch, before = self._recipe.batch_size, int(self.args.process_index) * given
        last = self.accelerator.gradient_state.end_of_dataloader
        rows = len(self.train_dataset) % batch if last else 0
        return min(given, max(0, (rows or batch) - before))

    def _share(self, labels: torch.Tensor) -> torch.Tensor:
        """What turns the weighted mean of some rows into its part of that of the whole batch.

        The gradients are averaged over the processes, not summed: hence their number in it.
        """
        weights = self._recipe.class_weights
        own = (
            torch.tensor(weights, device=labels.device)[labels].sum()
            if weights
            else torch.tensor(float(len(labels)), device=labels.device)
        )
        whole = own.clone()
        dist.all_reduce(whole)
        return own * self.args.world_size / whole

    def evaluation_loop(self, *args: Any, **settings: Any) -> EvalLoopOutput:
        """The Trainer's, with the loss of all rows: its own counts what fills up the last batch."""
        output = super().evaluation_loop(*args, **settings)
        prefix = settings.get("metric_key_prefix", "eval")
        logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
        output.metrics[f"{prefix}_loss"] = float(cross_entropy(logits, labels))
        return output


def summed(value: float, device: torch.device) -> float:
    """The sum of a number that each process has."""
    if not dist.is_initialized():
        return value
    total = torch.tensor(value, device=device)
    dist.all_reduce(total)
    return float(total)
