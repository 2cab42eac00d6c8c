"""Vocabulary trimming: an encoder with the word pieces that a language needs, and no others.

Of multilingual-e5-small's 118M parameters 96M are rows of 250k pieces, most of which a language
never meets. As in Abdaoui et al., 2020 (*Load What You Need*), rows are dropped and the rest of
the model is untouched; but the tokenizer is rebuilt from the kept pieces, so that a word whose
piece was dropped is spelled with smaller ones and never becomes ``<unk>``.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mlrun_assets.encoders.piece_ranking import CORPUS_CHARACTERS, rank_pieces, script
from mlrun_assets.encoders.unigram import Ids, Unigram, keep_pieces, read_unigram
from mlrun_assets.errors import EncoderError
from mlrun_assets.records import VocabularyTrim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# 30k pieces of multilingual-e5-small are 11.5M parameters, half of the layers' 21M: a larger
# vocabulary is what takes the memory and the time, a smaller one saves little more.
VOCABULARY_BUDGET = 30_000
# Where the val texts need more than this share of tokens more, the budget grows by a quarter.
MAX_FERTILITY_GROWTH = 0.01
BUDGET_STEP = 1.25
# Han and Hangul: as many characters as other languages have words. Kept only if they occur.
LARGE_SCRIPT = 1_000
# RoBERTa counts positions from the padding id, so that id must not move.
FRONT = 100
BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def can_trim(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Why the vocabulary can't be trimmed; None: it can."""
    if not tokenizer.is_fast:
        return "its tokenizer is not backed by the tokenizers library"
    backend = tokenizer.backend_tokenizer
    kind = type(backend.model).__name__
    if kind != "Unigram":
        return f"its tokenizer is a {kind} model, and only a Unigram model can lose pieces"
    if backend.pre_tokenizer is None or b"Metaspace" not in backend.pre_tokenizer.__getstate__():
        return "its Unigram tokenizer does not mark the start of words with Metaspace"
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= FRONT:
        return "its padding token does not stand at the front of the vocabulary"
    return None


def plan_trim(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], budget: int = VOCABULARY_BUDGET
) -> Ids:
    """The ids to keep, ascending.

    Kept are the special tokens, every piece that the texts use, every single character (of Han and
    Hangul only if they occur), and, up to ``budget`` pieces, those that look most like the texts.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    _require_trimmable(tokenizer)
    needed, others = _ranking(tokenizer, read_unigram(tokenizer), texts)
    return _within_budget(needed, others, budget)


def trim_tokenizer(tokenizer: PreTrainedTokenizerFast, kept_ids: Ids) -> PreTrainedTokenizerFast:
    """The tokenizer with the pieces ``kept_ids``, which become ids 0, 1, 2, ... in their order.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    _require_trimmable(tokenizer)
    return _rebuilt(tokenizer, read_unigram(tokenizer), kept_ids)


def trim(
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    texts: Sequence[str],
    val_texts: Sequence[str],
) -> tuple[PreTrainedTokenizerFast, VocabularyTrim]:
    """Trim the vocabulary to the training ``texts``; ``model`` is changed in place.

    The budget is raised until ``val_texts`` need at most 1 % more tokens than before: a small
    training set knows too few pieces to tell by itself.

    Returns:
        The new tokenizer, and what trimming did.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    from mlrun_assets.encoders.embedding_rows import trim_embeddings

    _require_trimmable(tokenizer)
    unigram = read_unigram(tokenizer)
    needed, others = _ranking(tokenizer, unigram, texts)
    tokens, unknown = _count(tokenizer, val_texts)
    parameters = model.num_parameters()
    budget = VOCABULARY_BUDGET
    while True:
        kept = _within_budget(needed, others, budget)
        trimmed = _rebuilt(tokenizer, unigram, kept)
        tokens_after, unknown_after = _count(trimmed, val_texts)
        if tokens_after <= tokens * (1 + MAX_FERTILITY_GROWTH) or len(kept) == len(unigram.pieces):
            break
        budget = int(budget * BUDGET_STEP)
    trim_embeddings(model, kept)
    return trimmed, VocabularyTrim(
        pieces_before=len(unigram.pieces),
        pieces_after=len(kept),
        parameters_before=parameters,
        parameters_after=model.num_parameters(),
        val_tokens_before=tokens,
        val_tokens_after=tokens_after,
        val_unknown_before=unknown,
        val_unknown_after=unknown_after,
    )


def _require_trimmable(tokenizer: PreTrainedTokenizerFast) -> None:
    if reason := can_trim(tokenizer):
        raise EncoderError(
            f"the vocabulary can't be trimmed: {reason}. Set model.trim_vocabulary to false."
        )


def _ranking(
    tokenizer: PreTrainedTokenizerFast, unigram: Unigram, texts: Sequence[str]
) -> tuple[Ids, Ids]:
    """The ids that must be kept, and the others, best first."""
    encoded = np.concatenate([np.array([], np.int64), *_encode(tokenizer, texts)])
    used = np.unique(encoded)
    scripts = {script(character) for index in used.tolist() for character in unigram.pieces[index]}
    scripts.add("")  # digits and signs, with or without texts
    needed = np.union1d(used, _always_kept(tokenizer, unigram, scripts))
    corpus = "".join(unigram.pieces[index] for index in encoded[:CORPUS_CHARACTERS].tolist())
    model_pieces = unigram.pieces[: len(unigram.scores)]
    order = rank_pieces(model_pieces, unigram.scores, corpus, scripts)
    return needed, order[~np.isin(order, needed)]


def _always_kept(
    tokenizer: PreTrainedTokenizerFast, unigram: Unigram, scripts: set[str]
) -> list[int]:
    """The ids without which the tokenizer would not be the same, or would know fewer texts."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, unigram.unk_id}
    front = range(tokenizer.pad_token_id + 1)
    # The cost of an unknown character is reckoned from the lowest score.
    cheapest = int(np.argmin(unigram.scores))
    single = {i: script(piece) for i, piece in enumerate(unigram.pieces) if len(piece) == 1}
    sizes = Counter(single.values())
    letters = [i for i, name in single.items() if name in scripts or sizes[name] < LARGE_SCRIPT]
    # With these a tokenizer spells characters that it does not know.
    byte_pieces = [i for i, piece in enumerate(unigram.pieces) if BYTE_PIECE.fullmatch(piece)]
    return [*special, *front, cheapest, *letters, *byte_pieces]


def _within_budget(needed: Ids, others: Ids, budget: int) -> Ids:
    return np.sort(np.concatenate([needed, others[: max(0, budget - len(needed))]]))


def _rebuilt(
    tokenizer: PreTrainedTokenizerFast, unigram: Unigram, kept: Ids
) -> PreTrainedTokenizerFast:
    """The plain class is used: it reads ``tokenizer.json`` as it stands, others build their own."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=keep_pieces(unigram, kept),
        **tokenizer.special_tokens_map,
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
    )


def _count(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[int, int]:
    """Tokens and unknown tokens of ``texts``, without special tokens and not cut."""
    encoded = _encode(tokenizer, texts)
    unknown = sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    return sum(map(len, encoded)), unknown


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids
