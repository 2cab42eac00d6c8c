"""Rank word pieces by how likely a language is to need them, beyond its training texts."""

from __future__ import annotations

import unicodedata

import numpy as np

from mlrun_assets.types import FloatArray, HashArray, IntArray, Uint32Array

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
        known = np.sort(_ngrams(trained, order)[order - 1 :])
        keys = _ngrams(queried, order)
        counts = np.searchsorted(known, keys, "right") - np.searchsorted(known, keys, "left")
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
