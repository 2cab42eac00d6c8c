"""Pairs of spans of one text, drawn anew in each epoch, and the batches that they come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from mlrun_assets.trainer.row_order import SeededLengthGroups

SHORTEST_SPAN = 8
"""Words. A text of fewer than twice as many is paired with itself."""


class Pair(NamedTuple):
    """Two spans of the text in a row."""

    row: int
    first: str
    second: str


def draw_spans(text: str, longest: int, generator: Random) -> tuple[str, str]:
    """Two spans of ``text`` that do not overlap, of equally many words, ``longest`` at most.

    The spans of a pair stand anywhere, and in either order (Giorgi et al., 2021, "DeCLUTR"). A text
    that is too short gives itself twice: then dropout makes the difference (Gao et al., 2021,
    "SimCSE").
    """
    words = text.split()
    most = min(longest, len(words) // 2)
    if most < SHORTEST_SPAN:
        return text, text
    size = generator.randint(max(SHORTEST_SPAN, most // 2), most)
    starts = sorted(generator.randint(0, len(words) - 2 * size) for _ in range(2))
    spans = [" ".join(words[start : start + size]) for start in (starts[0], starts[1] + size)]
    generator.shuffle(spans)
    return spans[0], spans[1]


class SpanPairs(Dataset[Pair]):
    """A pair for each text. Its index says which epoch too: see `EpochsOfPairs`."""

    def __init__(self, texts: Sequence[str], longest: int, seed: int) -> None:
        self._texts, self._longest, self._seed = texts, longest, seed

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Pair:
        epoch, row = divmod(index, len(self))
        generator = Random(f"{self._seed} {epoch} {row}")  # noqa: S311 - no secret
        return Pair(row, *draw_spans(self._texts[row], self._longest, generator))

    @property
    def lengths(self) -> list[int]:
        """Words of each text, as far as its spans can hold them."""
        return [min(len(text.split()), 2 * self._longest) for text in self._texts]


class EpochsOfPairs(SeededLengthGroups):
    """Rows of like length together; in the second epoch the index of row 0 is the rows' number.

    So the pairs of a step depend on nothing but the seed and the step: a training that is taken up
    again in the middle draws those that it would have drawn.
    """

    def __iter__(self) -> Iterator[int]:
        before = self._epoch * len(self.lengths)
        return iter([before + row for row in super().__iter__()])


class PairCollator:
    """Pairs as one batch: all first spans, then all second ones."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def __call__(self, pairs: list[Pair]) -> dict[str, torch.Tensor]:
        """Ids and attention mask (2 x pairs, tokens), and the numbers of the rows (pairs)."""
        encoded = self._tokenizer(
            [pair.first for pair in pairs] + [pair.second for pair in pairs],
            truncation=True,
            max_length=self._max_length,
            padding=True,
            pad_to_multiple_of=8,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        return {**encoded, "row": torch.tensor([pair.row for pair in pairs])}
