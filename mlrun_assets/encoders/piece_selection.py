"""Which ids of a vocabulary are kept for some texts: those that they need, then the likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlrun_assets.arrays import IntArray
from mlrun_assets.encoders.piece_ranking import CORPUS_CHARACTERS, rank_pieces, script
from mlrun_assets.encoders.vocabulary import Vocabulary

Encoded = list[list[int]]


@dataclass(frozen=True)
class RankedIds:
    """Ids that must be kept, ascending, and the others, best first."""

    needed: IntArray
    others: IntArray

    def within(self, budget: int) -> IntArray:
        """The ids to keep, ascending: ``budget`` of them, or as many as are needed."""
        return np.sort(
            np.concatenate([self.needed, self.others[: max(0, budget - len(self.needed))]])
        )


def rank_ids(
    vocabulary: Vocabulary, fixed: Sequence[int], encoded: Encoded, scripts: set[str]
) -> RankedIds:
    """Rank the ids for texts, as ``encoded``, that are written in ``scripts``.

    Needed are the ``fixed`` ids, all that the texts use, and what the vocabulary requires to know
    no fewer texts than before.
    """
    ids = np.concatenate([np.array([], np.int64), *encoded])
    certain = np.array([*fixed, *vocabulary.required(scripts)], np.int64)
    needed = np.sort(vocabulary.with_ancestors(np.union1d(ids, certain)))
    written = [vocabulary.as_written(piece) for piece in vocabulary.model_pieces]
    known = ids[ids < len(written)]
    corpus = "".join(written[index] for index in known[:CORPUS_CHARACTERS].tolist())
    order = vocabulary.with_ancestors(rank_pieces(written, vocabulary.scores, corpus, scripts))
    return RankedIds(needed, order[~np.isin(order, needed)])


def scripts_of(vocabulary: Vocabulary, encoded: Encoded) -> set[str]:
    """The scripts of the pieces that encoded texts use, and that of digits and signs."""
    pieces = vocabulary.model_pieces
    used = {index for ids in encoded for index in ids if index < len(pieces)}
    written = set("".join(vocabulary.as_written(pieces[index]) for index in used))
    return {"", *map(script, written)}
