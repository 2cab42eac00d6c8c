"""A tokenizer's vocabulary as data, and the same tokenizer with fewer pieces."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import orjson

from mlrun_assets.arrays import FloatArray, IntArray
from mlrun_assets.encoders.piece_ranking import script
from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WORD_START = "▁"
# Han and Hangul: as many characters as other languages have words. Kept only if they occur.
LARGE_SCRIPT = 1_000


class Vocabulary(ABC):
    """What ``tokenizers`` writes to ``tokenizer.json``, and what its kind of model makes of it.

    Attributes:
        data: the whole of it.
        model_pieces: the pieces of the model, in the order of their ids.
        pieces: the same, and behind them the tokens that were added.
    """

    kind: ClassVar[str]

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.model: dict[str, Any] = data["model"]
        self.model_pieces = self._read_pieces()
        size = len(self.model_pieces)
        added = sorted((token["id"], token["content"]) for token in data["added_tokens"])
        self.pieces = [*self.model_pieces, *(content for index, content in added if index >= size)]

    @staticmethod
    @abstractmethod
    def refusal(backend: Tokenizer) -> str | None:
        """Why a tokenizer with this kind of model can't lose pieces; None: it can."""

    @property
    @abstractmethod
    def scores(self) -> FloatArray:
        """How frequent each of the model's pieces is, as a log probability but for a constant."""

    @abstractmethod
    def as_written(self, piece: str) -> str:
        """The text that a piece of the model stands for, with ``▁`` where a word starts."""

    @abstractmethod
    def required(self, scripts: set[str]) -> list[int]:
        """The ids without which texts in ``scripts`` would hold more unknown tokens than before."""

    @abstractmethod
    def _read_pieces(self) -> list[str]:
        """The pieces of the model in the order of their ids."""

    @abstractmethod
    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        """What changes in the model's data when only these of its ids are kept."""

    def with_ancestors(self, ids: IntArray) -> IntArray:
        """``ids`` in their order, each behind those that it can't be reached without."""
        return ids

    def letters(self, single: dict[int, str], scripts: set[str]) -> list[int]:
        """Of the ids of single characters: those of small scripts, and those of ``scripts``."""
        written_in = {index: script(character) for index, character in single.items()}
        sizes = Counter(written_in.values())
        return [
            index
            for index, name in written_in.items()
            if name in scripts or sizes[name] < LARGE_SCRIPT
        ]

    def keep(self, kept: IntArray) -> Tokenizer:
        """The tokenizer with the pieces ``kept`` only, numbered anew in their order.

        Raises:
            EncoderError: the tokenizers library numbers them otherwise.
        """
        from tokenizers import Tokenizer

        data = self.data
        new_ids = {old: new for new, old in enumerate(kept.tolist())}
        size = len(self.model_pieces)
        model_ids = {old: new for old, new in new_ids.items() if old < size}
        added = [{**token, "id": new_ids[token["id"]]} for token in data["added_tokens"]]
        trimmed = data | {
            "model": self.model | self._kept_model(model_ids),
            "added_tokens": added,
            "post_processor": _renumber(data["post_processor"], new_ids),
            "padding": None,
            "truncation": None,
        }
        tokenizer: Tokenizer = Tokenizer.from_str(orjson.dumps(trimmed).decode("utf-8"))
        if tokenizer.get_vocab() != {self.pieces[old]: new for old, new in new_ids.items()}:
            raise EncoderError(
                "the vocabulary can't be trimmed: the tokenizers library does not number the kept "
                "pieces in their order. Set model.trim_vocabulary to false."
            )
        return tokenizer


def tokenizer_data(backend: Tokenizer) -> dict[str, Any]:
    """What ``tokenizers`` writes to ``tokenizer.json``.

    The garbage collector waits meanwhile: a list for each of 250k pieces makes it look through all
    that the process holds, again and again, nine tenths of the time that this takes.
    """
    text = backend.to_str()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        data: dict[str, Any] = orjson.loads(text)
    finally:
        if was_enabled:
            gc.enable()
    return data


def zipf_scores(size: int) -> FloatArray:
    """Log probabilities, but for a constant, of pieces that stand in the order of frequency."""
    return -np.log(np.arange(1, size + 1))


def pieces_by_id(vocabulary: dict[str, int]) -> list[str]:
    """The pieces of a model that maps each to its id; the ids have no gaps."""
    return sorted(vocabulary, key=vocabulary.__getitem__)


def gaps(backend: Tokenizer) -> str | None:
    """That some ids have no piece; None: all have one."""
    ids = backend.get_vocab().values()
    return "some of its ids have no piece" if len(ids) <= max(ids, default=-1) else None


def _renumber(processor: Any, new_ids: dict[int, int]) -> Any:
    """The post-processor with new ids; it names its special tokens in one of two forms."""
    if isinstance(processor, list):
        return [_renumber(part, new_ids) for part in processor]
    if not isinstance(processor, dict):
        return processor
    renumbered = {key: _renumber(value, new_ids) for key, value in processor.items()}
    if "ids" in processor and "tokens" in processor:  # template: {"id", "ids", "tokens"}
        renumbered["ids"] = [new_ids[old] for old in processor["ids"]]
    for key in ("sep", "cls"):  # BERT and RoBERTa: ["</s>", 2]
        if isinstance(processor.get(key), list):
            token, old = processor[key]
            renumbered[key] = [token, new_ids[old]]
    return renumbered
