"""Which word pieces a language is likely to need, beyond those that its training texts use."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlrun_assets.types import BoolArray, FloatArray, HashArray, IntArray, Uint32Array

ORDER = 4
# A character's id takes 16 bits, so that four of them are one 64-bit key.
BITS = 16
# How many observations the shorter context counts for, as in Bayesian smoothing with a Dirichlet
# prior (MacKay and Peto, 1995).
PRIOR = 1.0
# Against the tokenizer's own score. At 30k pieces SIB-200 Somali's val split needs 2.4 % more
# tokens by the score alone, and 1.1 %, 1.1 % and 1.0 % with weights 0.3, 0.5 and 1; Oromo, from 60
# sentences, 3.4 % and 0.9 % with any of them; Swahili, from 60, 15.0 % and 8.1 %, 7.9 %, 7.2 %.
CHARACTER_WEIGHT = 0.5
# Enough to know which four characters follow one another; more only takes longer.
CORPUS_CHARACTERS = 1_000_000
SHARED_NAMES = frozenset({"COMBINING", "MODIFIER", "VARIATION"})


def rank_pieces(pieces: list[str], scores: FloatArray, corpus: str, scripts: set[str]) -> IntArray:
    """The indices of ``pieces``, those that ``corpus`` suggests most first.

    A piece is ranked by its general frequency, the Unigram log probability. That alone would fill
    a Somali vocabulary with English and Spanish; so a character 4-gram model of the corpus is asked
    as well, and half of its log probability is added. Pieces of other scripts come last.

    Args:
        pieces: the pieces, none of them empty.
        scores: their log probabilities, of the same length.
        corpus: the training texts as the tokenizer normalises them, with ``▁`` for spaces.
        scripts: the scripts that the training texts are written in, as ``script`` names them;
            those of digits and signs are always among them.
    """
    likeness = character_log_probabilities(pieces, corpus[:CORPUS_CHARACTERS])
    ranks = scores + CHARACTER_WEIGHT * likeness
    return np.lexsort((-ranks, ~_written_in(pieces, scripts)))


def script(character: str) -> str:
    """``LATIN``, ``ARABIC``, ``CJK``, ...; empty for what all scripts share (digits, signs).

    Unicode's names start with the script, but for accents and such, which belong to any.
    """
    if unicodedata.category(character)[0] not in "LM":
        return ""
    name = unicodedata.name(character, "").split(" ")[0]
    return "" if name in SHARED_NAMES else name


def _written_in(pieces: list[str], scripts: set[str]) -> BoolArray:
    """For each piece: whether all its characters are of the ``scripts`` or shared by all."""
    characters, inverse = np.unique(_code_points("".join(pieces)), return_inverse=True)
    fits = np.array([script(chr(character)) in {*scripts, ""} for character in characters.tolist()])
    return np.logical_and.reduceat(fits[inverse], _starts(_lengths(pieces)))


def character_log_probabilities(pieces: list[str], corpus: str) -> FloatArray:
    """The natural log probability of each piece under an interpolated 4-gram model of ``corpus``.

    A character that stands at index i of its piece is predicted from min(i, 3) before it:
    p(c | context) = (count(context c) + PRIOR * p(c | shorter context)) / (count(context) + PRIOR),
    and all characters are equally likely without one.
    """
    characters = _code_points(corpus)
    alphabet = np.unique(characters)
    trained = _ids(characters, alphabet)
    asked = _ids(_code_points("".join(pieces)), alphabet)
    lengths = _lengths(pieces)
    starts = _starts(lengths)
    index_in_piece = np.arange(len(asked)) - np.repeat(starts, lengths)

    probabilities = np.full(len(asked), 1.0 / (len(alphabet) + 1))
    context_counts: NDArray[Any] = np.full(len(asked), float(len(trained)))
    for order in range(1, ORDER + 1):
        # The first places have no whole n-gram before them.
        counts = _counts(_ngrams(asked, order), _ngrams(trained, order)[order - 1 :])
        longer = (counts + PRIOR * probabilities) / (context_counts + PRIOR)
        probabilities = np.where(index_in_piece >= order - 1, longer, probabilities)
        # The n-gram that ends here is the context of the character behind it.
        context_counts = np.concatenate([[0.0], counts[:-1]])
    return np.add.reduceat(np.log(probabilities), starts)


def _lengths(pieces: list[str]) -> IntArray:
    return np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))


def _starts(lengths: IntArray) -> IntArray:
    """Where each piece starts when all are joined."""
    return np.cumsum(lengths) - lengths


def _code_points(text: str) -> Uint32Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _ids(characters: Uint32Array, alphabet: Uint32Array) -> HashArray:
    """1 and up for the characters of the alphabet, 0 for others."""
    ids = np.searchsorted(alphabet, characters) + 1
    ids[~np.isin(characters, alphabet)] = 0
    return ids.astype(np.uint64)


def _ngrams(ids: HashArray, order: int) -> HashArray:
    """The key of the ``order`` ids that end at each place; zeros stand before the first."""
    keys = ids.copy()
    for distance in range(1, order):
        keys[distance:] |= ids[:-distance] << np.uint64(BITS * distance)
    return keys


def _counts(asked: HashArray, trained: HashArray) -> FloatArray:
    """How often each key that is asked for was seen in training."""
    if len(trained) == 0:
        return np.zeros(len(asked))
    known, counts = np.unique(trained, return_counts=True)
    places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[places] == asked, counts[places], 0).astype(np.float64)
