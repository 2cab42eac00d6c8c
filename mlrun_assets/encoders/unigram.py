"""The vocabulary of a Unigram model (Kudo, 2018): XLM-R, mDeBERTa, ALBERT, E5."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun_assets.arrays import FloatArray
from mlrun_assets.encoders.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


class Unigram(Vocabulary):
    """Pieces with log probabilities; the most probable segmentation wins.

    The scores stay, so a text whose pieces are all kept is segmented as before: no segmentation of
    it was added, and the best one is still there.
    """

    kind: ClassVar[str] = "Unigram"

    @staticmethod
    def refusal(backend: Tokenizer) -> str | None:
        pre_tokenizer = backend.pre_tokenizer
        if pre_tokenizer is None or b"Metaspace" not in pre_tokenizer.__getstate__():
            return "its Unigram tokenizer does not mark the start of words with Metaspace"
        return None

    @property
    def scores(self) -> FloatArray:
        return np.array([score for _, score in self.model["vocab"]])

    def as_written(self, piece: str) -> str:
        return piece

    def required(self, scripts: set[str]) -> list[int]:
        """Single characters, the unknown token, and what its cost is reckoned from."""
        single = {i: piece for i, piece in enumerate(self.pieces) if len(piece) == 1}
        # The cost of an unknown character is reckoned from the lowest score.
        cheapest = int(np.argmin(self.scores))
        # With these a tokenizer spells characters that it does not know.
        byte_pieces = [i for i, piece in enumerate(self.pieces) if BYTE_PIECE.fullmatch(piece)]
        unknown = [] if self.model["unk_id"] is None else [int(self.model["unk_id"])]
        return [*self.letters(single, scripts), cheapest, *byte_pieces, *unknown]

    def _read_pieces(self) -> list[str]:
        return [piece for piece, _ in self.model["vocab"]]

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        vocabulary = [self.model["vocab"][old] for old in new_ids]
        return {"vocab": vocabulary, "unk_id": new_ids.get(self.model["unk_id"])}
