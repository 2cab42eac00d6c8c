"""A tokenizer's vocabulary as data, to build the same tokenizer with fewer pieces.

How likely a language is to need a piece, then the base class, and a class for each kind of model:
Unigram, WordPiece, byte-level BPE.
"""

from __future__ import annotations

import gc
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import orjson

from mlrun_assets.errors import EncoderError
from mlrun_assets.types import FloatArray, HashArray, IntArray, Uint32Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer


# How likely a language is to need a piece

ORDER = 4
# A character's id has 16 bits, so four of them fit into a 64-bit key.
BITS = 16
# Weight of the shorter context in observations, as in smoothing with a Dirichlet prior (MacKay and
# Peto, 1995).
PRIOR = 1.0
# Relative to the tokenizer's own score. Additional tokens of the val split at 30k pieces, with the
# score alone and with weights 0.3, 0.5 and 1: Somali (SIB-200) 2.4 %, then 1.1 %, 1.1 %, 1.0 %;
# Oromo (60 sentences) 3.4 %, then 0.9 % with each; Swahili (60) 15.0 %, then 8.1 %, 7.9 %, 7.2 %.
CHARACTER_WEIGHT = 0.5
# Enough to count 4-grams of characters; more only takes longer.
CORPUS_CHARACTERS = 1_000_000
SHARED_NAMES = frozenset({"COMBINING", "MODIFIER", "VARIATION"})


def rank_pieces(pieces: list[str], scores: FloatArray, corpus: str, scripts: set[str]) -> IntArray:
    """The indices of ``pieces``, best first.

    The rank of a piece is its Unigram log probability plus half of its log probability under a
    character 4-gram model of ``corpus``. The first alone would fill a Somali vocabulary with
    English and Spanish pieces. Pieces of other scripts come last.

    Args:
        pieces: the pieces, none of them empty.
        scores: their log probabilities, of the same length.
        corpus: the training texts as the tokenizer normalises them, with ``▁`` for spaces.
        scripts: the scripts of the training texts, with the names of ``script``; digits and signs
            always belong to them.
    """
    likeness = character_log_probabilities(pieces, corpus[:CORPUS_CHARACTERS])
    ranks = scores + CHARACTER_WEIGHT * likeness
    characters, inverse = np.unique(_code_points("".join(pieces)), return_inverse=True)
    fits = np.array([script(chr(character)) in {*scripts, ""} for character in characters.tolist()])
    is_written_in = np.logical_and.reduceat(fits[inverse], _lengths_and_starts(pieces)[1])
    return np.lexsort((-ranks, ~is_written_in))


def script(character: str) -> str:
    """``LATIN``, ``ARABIC``, ``CJK``, ...; empty for digits and signs, which all scripts share.

    The Unicode name of a letter starts with its script, except for accents and other marks.
    """
    if unicodedata.category(character)[0] not in "LM":
        return ""
    name = unicodedata.name(character, "").split(" ")[0]
    return "" if name in SHARED_NAMES else name


def character_log_probabilities(pieces: list[str], corpus: str) -> FloatArray:
    """The natural log probability of each piece under an interpolated 4-gram model of ``corpus``.

    A character at index i of its piece is predicted from the min(i, 3) characters before it:
    p(c | context) = (count(context c) + PRIOR * p(c | shorter context)) / (count(context) + PRIOR),
    and without a context all characters are equally likely.
    """
    characters = _code_points(corpus)
    alphabet = np.unique(characters)
    trained = _ids(characters, alphabet)
    queried = _ids(_code_points("".join(pieces)), alphabet)
    lengths, starts = _lengths_and_starts(pieces)
    index_in_piece = np.arange(len(queried)) - np.repeat(starts, lengths)

    probabilities = np.full(len(queried), 1.0 / (len(alphabet) + 1))
    context_counts = np.full(len(queried), float(len(trained)))
    for order in range(1, ORDER + 1):
        # The first positions have no complete n-gram before them.
        known, often = np.unique(_ngrams(trained, order)[order - 1 :], return_counts=True)
        keys = _ngrams(queried, order)
        places = np.searchsorted(known, keys)
        # A key behind the last known one gets the place of an added one.
        known, often = np.append(known, np.uint64(0)), np.append(often, 0)
        counts = np.where(known[places] == keys, often[places], 0)
        longer = (counts + PRIOR * probabilities) / (context_counts + PRIOR)
        probabilities = np.where(index_in_piece >= order - 1, longer, probabilities)
        # The n-gram that ends here is the context of the character behind it.
        context_counts = np.concatenate([[0.0], counts[:-1]])
    return np.add.reduceat(np.log(probabilities), starts)


def _lengths_and_starts(pieces: list[str]) -> tuple[IntArray, IntArray]:
    """Length of each piece, and its start in the joined pieces."""
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    return lengths, np.cumsum(lengths) - lengths


def _code_points(text: str) -> Uint32Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _ids(characters: Uint32Array, alphabet: Uint32Array) -> HashArray:
    """1 and up for the characters of the alphabet, 0 for others."""
    ids = np.searchsorted(alphabet, characters) + 1
    ids[~np.isin(characters, alphabet)] = 0
    return ids.astype(np.uint64)


def _ngrams(ids: HashArray, order: int) -> HashArray:
    """The key of the ``order`` ids that end at each position, with zeros before the first."""
    keys = ids.copy()
    for distance in range(1, order):
        keys[distance:] |= ids[:-distance] << np.uint64(BITS * distance)
    return keys


WORD_START = "▁"
# The pieces of a tokenizer

# Han and Hangul have at least as many characters. They are kept only if they occur.
LARGE_SCRIPT = 1_000


class Vocabulary(ABC):
    """The content of a ``tokenizer.json``, as its kind of model interprets it.

    Attributes:
        data: the whole content.
        model_pieces: the pieces of the model, in order of their ids.
        pieces: the same, followed by the added tokens.
    """

    kind: ClassVar[str]

    def __init__(self, backend: Tokenizer) -> None:
        text = backend.to_str()
        # With a list for each of 250k pieces, the garbage collector would run again and again and
        # take nine tenths of the time.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            data = orjson.loads(text)
        finally:
            if was_enabled:
                gc.enable()
        self.data: dict[str, Any] = data
        self.model: dict[str, Any] = data["model"]
        self.model_pieces = self._read_pieces()
        size = len(self.model_pieces)
        added = sorted((token["id"], token["content"]) for token in data["added_tokens"])
        self.pieces = [*self.model_pieces, *(content for index, content in added if index >= size)]

    @staticmethod
    def refusal(backend: Tokenizer) -> str | None:
        """The reason why a tokenizer with this kind of model can't lose pieces; None: it can."""
        ids = backend.get_vocab().values()
        return "some of its ids have no piece" if len(ids) <= max(ids, default=-1) else None

    @property
    def scores(self) -> FloatArray:
        """Log probabilities of the model's pieces, up to a constant.

        Here for pieces in order of frequency, by Zipf's law.
        """
        return -np.log(np.arange(1, len(self.model_pieces) + 1))

    @abstractmethod
    def as_written(self, piece: str) -> str:
        """The text of a piece of the model, with ``▁`` where a word starts."""

    @abstractmethod
    def required(self, scripts: set[str]) -> list[int]:
        """The ids without which texts in ``scripts`` would have more unknown tokens than before."""

    def _read_pieces(self) -> list[str]:
        """The pieces of the model in the order of their ids, which have no gaps."""
        return sorted(self.model["vocab"], key=self.model["vocab"].__getitem__)

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        """The changes of the model's data if only these of its ids are kept."""
        return {"vocab": {self.model_pieces[old]: new for old, new in new_ids.items()}}

    def with_ancestors(self, ids: IntArray) -> IntArray:
        """``ids`` in their order, each one after the ids that it is merged from."""
        return ids

    def letters(self, single: dict[int, str], scripts: set[str]) -> list[int]:
        """Ids of single characters that belong to small scripts or to ``scripts``."""
        written_in = {index: script(character) for index, character in single.items()}
        sizes = Counter(written_in.values())
        kept = {name for name, size in sizes.items() if name in scripts or size < LARGE_SCRIPT}
        return [index for index, name in written_in.items() if name in kept]

    def keep(self, kept: IntArray) -> Tokenizer:
        """The tokenizer with the pieces ``kept`` only, numbered from 0 in their order.

        Raises:
            EncoderError: the tokenizers library numbers them differently.
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


def _renumber(processor: Any, new_ids: dict[int, int]) -> Any:
    """The post-processor with new ids; special tokens appear in two forms."""
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


BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


class Unigram(Vocabulary):
    """Pieces with log probabilities; the most probable segmentation is chosen.

    The scores stay. If all pieces of a text are kept, its best segmentation is still possible and
    no other was added, so the text is split as before.
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
        """Single characters, bytes, the unknown token, and the piece that determines its cost."""
        single = {i: piece for i, piece in enumerate(self.pieces) if len(piece) == 1}
        # The cost of an unknown character is computed from the lowest score.
        cheapest = int(np.argmin(self.scores))
        # A tokenizer writes unknown characters with these.
        byte_pieces = [i for i, piece in enumerate(self.pieces) if BYTE_PIECE.fullmatch(piece)]
        unknown = [] if self.model["unk_id"] is None else [int(self.model["unk_id"])]
        return [*self.letters(single, scripts), cheapest, *byte_pieces, *unknown]

    def _read_pieces(self) -> list[str]:
        return [piece for piece, _ in self.model["vocab"]]

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        vocabulary = [self.model["vocab"][old] for old in new_ids]
        return {"vocab": vocabulary, "unk_id": new_ids.get(self.model["unk_id"])}


class WordPiece(Vocabulary):
    """Pieces that start a word, and pieces marked with ``##`` that continue it.

    From the left, the longest piece that fits is taken. If all pieces of a word are kept, each is
    still the longest at its position, so the word is split as before. Other words are split
    differently, and a word becomes unknown if no piece fits at some position. This can't happen if
    each of its characters is a piece, with and without ``##``. If a character occurs in longer
    pieces only, all of these are kept.
    """

    kind: ClassVar[str] = "WordPiece"

    def as_written(self, piece: str) -> str:
        rest = piece.removeprefix(self._mark)
        return rest if rest != piece and rest else f"{WORD_START}{piece}"

    def required(self, scripts: set[str]) -> list[int]:
        """Single characters with and without ``##``, and pieces that hold another one."""
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
        """Whether some character of ``scripts`` in the piece is not a piece of its own."""
        text = piece.removeprefix(self._mark)
        marks = ["" if text == piece else self._mark, *[self._mark] * len(text)]
        return any(
            f"{mark}{character}" not in known and script(character) in scripts
            for mark, character in zip(marks, text, strict=False)
        )


class BytePair(Vocabulary):
    """Bytes, and pieces that are merged from two others, the earliest merge first.

    A piece is kept with all pieces that its merges pass through. A word whose pieces are kept is
    then merged in the same steps: each step is the earliest possible merge, all of them are kept,
    and none was added. All bytes are kept, so nothing is unknown.
    """

    kind: ClassVar[str] = "BPE"

    @staticmethod
    def refusal(backend: Tokenizer) -> str | None:
        model, pre_tokenizer = backend.model, backend.pre_tokenizer
        if pre_tokenizer is None or b"ByteLevel" not in pre_tokenizer.__getstate__():
            return "its BPE tokenizer does not work on bytes"
        if model.continuing_subword_prefix or model.end_of_word_suffix:
            return "its BPE tokenizer marks pieces by their place in the word"
        return Vocabulary.refusal(backend)

    def as_written(self, piece: str) -> str:
        """Bytes that are only a part of a character become U+FFFD."""
        values = bytes(self._bytes.get(character, 0) for character in piece)
        return values.decode("utf-8", "replace").replace(" ", WORD_START)

    def required(self, scripts: set[str]) -> list[int]:  # noqa: ARG002
        """The bytes, which can write every script."""
        return [i for i, piece in enumerate(self.model_pieces) if len(piece) == 1]

    def with_ancestors(self, ids: IntArray) -> IntArray:
        # The two pieces of each merge that leads to a piece.
        numbers, parts = self.model["vocab"], defaultdict[int, list[int]](list)
        for first, second in self.model["merges"]:
            parts[numbers[first + second]] += [numbers[first], numbers[second]]
        found: dict[int, None] = {}

        def visit(index: int) -> None:
            if index not in found:
                for part in parts[index]:
                    visit(part)
                found[index] = None

        for index in ids.tolist():
            visit(index)
        return np.fromiter(found, np.int64, len(found))

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """The byte of each character of a piece; printable characters are their own byte."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        return {character: byte for byte, character in bytes_to_unicode().items()}

    def _kept_model(self, new_ids: dict[int, int]) -> dict[str, Any]:
        kept = super()._kept_model(new_ids)
        merges = [
            [first, second]
            for first, second in self.model["merges"]
            if {first, second, first + second} <= kept["vocab"].keys()
        ]
        return kept | {"merges": merges}
