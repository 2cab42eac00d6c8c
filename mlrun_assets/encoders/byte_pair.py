"""The vocabulary of a byte-level BPE model (Sennrich et al., 2016; Radford et al., 2019).

RoBERTa's is one.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun_assets.arrays import FloatArray, IntArray
from mlrun_assets.encoders.vocabulary import (
    WORD_START,
    Vocabulary,
    gaps,
    pieces_by_id,
    zipf_scores,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class BytePair(Vocabulary):
    """Bytes, and pieces that are merged from two others, the earliest merge first.

    A piece is kept with all pieces that its merges pass through. Merging a word whose pieces are
    kept then takes the same steps as before: each step is the earliest merge that applies, all of
    them are still there, and none was added. All bytes stay, so nothing is ever unknown.
    """

    kind: ClassVar[str] = "BPE"

    @staticmethod
    def refusal(backend: Tokenizer) -> str | None:
        model, pre_tokenizer = backend.model, backend.pre_tokenizer
        if pre_tokenizer is None or b"ByteLevel" not in pre_tokenizer.__getstate__():
            return "its BPE tokenizer does not work on bytes"
        if model.continuing_subword_prefix or model.end_of_word_suffix:
            return "its BPE tokenizer marks pieces by their place in the word"
        return gaps(backend)

    @property
    def scores(self) -> FloatArray:
        return zipf_scores(len(self.model_pieces))

    def as_written(self, piece: str) -> str:
        """Bytes that are a part of a character only are written as U+FFFD."""
        values = bytes(self._bytes.get(character, 0) for character in piece)
        return values.decode("utf-8", "replace").replace(" ", WORD_START)

    def required(self, scripts: set[str]) -> list[int]:  # noqa: ARG002
        """The bytes, which write every script."""
        return [i for i, piece in enumerate(self.model_pieces) if len(piece) == 1]

    def with_ancestors(self, ids: IntArray) -> IntArray:
        found: dict[int, None] = {}

        def visit(index: int) -> None:
            if index not in found:
                for part in self._parts[index]:
                    visit(part)
                found[index] = None

        for index in ids.tolist():
            visit(index)
        return np.fromiter(found, np.int64, len(found))

    @cached_property
    def _parts(self) -> defaultdict[int, list[int]]:
        """The two pieces of each merge that leads to a piece."""
        ids, parts = self.model["vocab"], defaultdict[int, list[int]](list)
        for first, second in self.model["merges"]:
            parts[ids[first + second]] += [ids[first], ids[second]]
        return parts

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """The byte that each character of a piece stands for: printable ones for themselves."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        return {character: byte for byte, character in bytes_to_unicode().items()}

    def _read_pieces(self) -> list[str]:
        return pieces_by_id(self.model["vocab"])

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        vocabulary = {self.model_pieces[old]: new for old, new in new_ids.items()}
        merges = [
            [first, second]
            for first, second in self.model["merges"]
            if first in vocabulary and second in vocabulary and first + second in vocabulary
        ]
        return {"vocab": vocabulary, "merges": merges}
