"""The order of the rows: the same for a seed and an epoch, in the middle of it too."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class SeededLengthGroups(LengthGroupedSampler):
    """Rows of like length together, in an order of its own for each epoch.

    transformers draws the order from the state that torch's generator happens to have when an
    epoch begins, which a checkpoint from the middle of the epoch no longer holds.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says, by way of accelerate, which epoch begins; the first is 0."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        return iter(list(super().__iter__()))
