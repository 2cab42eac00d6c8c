"""The vocabulary of a WordPiece model (Schuster and Nakajima, 2012): BERT, mBERT, DistilBERT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mlrun_assets.arrays import FloatArray
from mlrun_assets.encoders.piece_ranking import script
from mlrun_assets.encoders.vocabulary import (
    WORD_START,
    Vocabulary,
    gaps,
    pieces_by_id,
    zipf_scores,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class WordPiece(Vocabulary):
    """Pieces that start a word, and others, marked with ``##``, that continue it.

    From the left, the longest piece that fits is taken. If all pieces of a word are kept, each is
    still the longest where it stands, so the word is segmented as before. Other words are split at
    other places; a word in which no piece fits somewhere becomes unknown as a whole. It can't
    where each of its characters is a piece by itself, in front and behind. A character that the
    model knows only within longer pieces keeps all of these.
    """

    kind: ClassVar[str] = "WordPiece"

    @staticmethod
    def refusal(backend: Tokenizer) -> str | None:
        return gaps(backend)

    @property
    def scores(self) -> FloatArray:
        return zipf_scores(len(self.model_pieces))

    def as_written(self, piece: str) -> str:
        rest = piece.removeprefix(self._mark)
        return rest if rest != piece and rest else f"{WORD_START}{piece}"

    def required(self, scripts: set[str]) -> list[int]:
        """Single characters with and without ``##``, and pieces with one that has no own."""
        characters = [piece.removeprefix(self._mark) for piece in self.model_pieces]
        single = {i: text for i, text in enumerate(characters) if len(text) == 1}
        known = {self.model_pieces[index] for index in single}
        holders = [
            index
            for index, piece in enumerate(self.model_pieces)
            if index not in single and self._holds_orphan(piece, known, scripts)
        ]
        unknown = self.model["vocab"].get(self.model["unk_token"])
        return [*self.letters(single, scripts), *holders, *([] if unknown is None else [unknown])]

    @property
    def _mark(self) -> str:
        return str(self.model["continuing_subword_prefix"])

    def _holds_orphan(self, piece: str, known: set[str], scripts: set[str]) -> bool:
        """Whether a character of ``scripts`` in the piece is not a piece by itself there."""
        text = piece.removeprefix(self._mark)
        first = text[:1] if text == piece else f"{self._mark}{text[:1]}"
        own = [first, *(f"{self._mark}{character}" for character in text[1:])]
        return any(
            name not in known and script(character) in scripts
            for name, character in zip(own, text, strict=True)
        )

    def _read_pieces(self) -> list[str]:
        return pieces_by_id(self.model["vocab"])

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        return {"vocab": {self.model_pieces[old]: new for old, new in new_ids.items()}}
