"""A Unigram tokenizer as data: its pieces, its scores, and the same tokenizer with fewer pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Unigram:
    """What ``tokenizers`` writes to ``tokenizer.json``, with the parts that trimming needs.

    Attributes:
        data: the whole of it.
        pieces: the pieces of the model in the order of their ids, then the tokens added behind.
        scores: log probabilities of the model's pieces; added tokens have none.
    """

    data: dict[str, Any]
    pieces: list[str]
    scores: NDArray[np.float64]

    @property
    def unk_id(self) -> int:
        return int(self.data["model"]["unk_id"])


def read_unigram(tokenizer: PreTrainedTokenizerFast) -> Unigram:
    """The data of a tokenizer whose model is a Unigram."""
    data = orjson.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    pieces = [piece for piece, _ in vocabulary]
    added = sorted((token["id"], token["content"]) for token in data["added_tokens"])
    pieces += [content for index, content in added if index >= len(vocabulary)]
    return Unigram(data, pieces, np.array([score for _, score in vocabulary]))


def keep_pieces(unigram: Unigram, kept: Ids) -> Tokenizer:
    """The tokenizer with the pieces ``kept`` only, numbered anew in their order.

    The scores stay, so a text that the kept pieces cover has the same best segmentation as before:
    no segmentation of it was added.
    """
    from tokenizers import Tokenizer

    data, model = unigram.data, unigram.data["model"]
    new_ids = {old: new for new, old in enumerate(kept.tolist())}
    vocabulary = [model["vocab"][old] for old in new_ids if old < len(model["vocab"])]
    added = [{**token, "id": new_ids[token["id"]]} for token in data["added_tokens"]]
    trimmed = data | {
        "model": model | {"vocab": vocabulary, "unk_id": new_ids[unigram.unk_id]},
        "added_tokens": added,
        "post_processor": _renumber(data["post_processor"], new_ids),
        "padding": None,
        "truncation": None,
    }
    return Tokenizer.from_str(orjson.dumps(trimmed).decode("utf-8"))


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
