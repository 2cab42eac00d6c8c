"""Vocabulary trimming: remove the word pieces that a language does not need.

96M of the 118M parameters of multilingual-e5-small are embeddings of 250k pieces, and one language
uses few of them. As in Abdaoui et al., 2020 (*Load What You Need*), rows are dropped and the other
weights stay. The tokenizer is rebuilt from the kept pieces: a word whose piece was dropped is split
into smaller pieces and never becomes ``<unk>``. A text whose pieces are all kept is split as
before, and the trimmed model gives the same output for it.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from mlrun_assets.encoders.vocabulary import (
    CORPUS_CHARACTERS,
    BytePair,
    Unigram,
    Vocabulary,
    WordPiece,
    rank_pieces,
    script,
)
from mlrun_assets.errors import EncoderError
from mlrun_assets.records import VocabularyTrim
from mlrun_assets.types import IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


Encoded = list[list[int]]
# 30k pieces of multilingual-e5-small are 11.5M parameters, half of the layers' 21M. A larger
# vocabulary costs memory and time; a smaller one saves little more.
VOCABULARY_BUDGET = 30_000
# If the val texts need over 1 % more tokens than before, the budget grows by a quarter.
MAX_FERTILITY_GROWTH = 0.01
BUDGET_STEP = 1.25
# RoBERTa counts positions from the padding id, so that id must not change.
FRONT = 100
KINDS: dict[str, type[Vocabulary]] = {
    vocabulary.kind: vocabulary for vocabulary in (Unigram, WordPiece, BytePair)
}


def can_trim(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """The reason why the vocabulary can't be trimmed; None: it can."""
    backend = tokenizer.backend_tokenizer
    kind = type(backend.model).__name__
    if kind not in KINDS:
        return f"its tokenizer is a {kind} model, and only {', '.join(KINDS)} can lose pieces"
    if tokenizer.pad_token_id >= FRONT:
        return "its padding token is not at the front of the vocabulary"
    return KINDS[kind].refusal(backend)


def require_trimmable(tokenizer: PreTrainedTokenizerFast) -> None:
    """Check that the vocabulary can be trimmed.

    Raises:
        EncoderError: it can't; the message gives the reason.
    """
    if reason := can_trim(tokenizer):
        raise EncoderError(
            f"the vocabulary can't be trimmed: {reason}. Set model.trim_vocabulary to false."
        )


def trim(
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    texts: Sequence[str],
    val_texts: Sequence[str],
    budget: int = VOCABULARY_BUDGET,
) -> tuple[PreTrainedTokenizerFast, VocabularyTrim]:
    """Trim the vocabulary to the training ``texts``; ``model`` is changed in place.

    These pieces are kept: special tokens, pieces that the texts use, single characters (Han and
    Hangul only if they occur) or bytes, and, up to ``budget`` pieces, those that look most like the
    texts. The kept pieces get the ids 0, 1, 2, … in their old order. The budget is raised until
    ``val_texts`` need at most 1 % more tokens than before and contain no more unknown tokens: a
    small training split uses too few pieces. At worst all pieces are kept.

    Returns:
        The new tokenizer, and a record of sizes and token counts before and after.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message gives the reason.
    """
    require_trimmable(tokenizer)
    backend = tokenizer.backend_tokenizer
    vocabulary = KINDS[type(backend.model).__name__](backend)
    train, val = _encode(tokenizer, texts), _encode(tokenizer, val_texts)
    # Ids up to padding must not change.
    front = range(tokenizer.pad_token_id + 1)
    fixed = [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, *front]
    needed, others = _ranked_ids(vocabulary, fixed, train, val)
    tokens, unknown = _count(tokenizer, val)
    parameters = model.num_parameters()
    while True:
        kept = np.sort(np.concatenate([needed, others[: max(0, budget - len(needed))]]))
        trimmed = plain_tokenizer(vocabulary.keep(kept), tokenizer)
        tokens_after, unknown_after = _count(trimmed, _encode(trimmed, val_texts))
        fits = tokens_after <= tokens * (1 + MAX_FERTILITY_GROWTH) and unknown_after <= unknown
        if fits or len(kept) == len(vocabulary.pieces):
            break
        budget = math.ceil(len(kept) * BUDGET_STEP)
    _trim_embeddings(model, kept)
    return trimmed, VocabularyTrim(
        pieces_before=len(vocabulary.pieces),
        pieces_after=len(kept),
        parameters_before=parameters,
        parameters_after=model.num_parameters(),
        val_tokens_before=tokens,
        val_tokens_after=tokens_after,
        val_unknown_before=unknown,
        val_unknown_after=unknown_after,
    )


def plain_tokenizer(
    backend: Tokenizer, tokenizer: PreTrainedTokenizerFast
) -> PreTrainedTokenizerFast:
    """``backend`` with the settings of ``tokenizer``.

    A class of a family would build its own vocabulary and its own normalizer.
    """
    from transformers import PreTrainedTokenizerFast

    names = ["model_max_length", "model_input_names", "padding_side", "truncation_side"]
    names.append("clean_up_tokenization_spaces")
    settings = {name: getattr(tokenizer, name) for name in names}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **tokenizer.special_tokens_map, **settings
    )


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Encoded:
    """Ids of the whole texts, without special tokens."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    encoded = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [item.ids for item in encoded]


def _count(tokenizer: PreTrainedTokenizerFast, encoded: Encoded) -> tuple[int, int]:
    """Tokens and unknown tokens of encoded texts."""
    unknown = sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    return sum(map(len, encoded)), unknown


def _ranked_ids(
    vocabulary: Vocabulary, fixed: list[int], train: Encoded, val: Encoded
) -> tuple[IntArray, IntArray]:
    """The ids that must be kept, ascending, and the others, best first.

    The first are the ``fixed`` ids, all ids that the training texts use, and those without which
    texts in the scripts of ``train`` and ``val`` would have more unknown tokens than before.
    """
    written = [vocabulary.as_written(piece) for piece in vocabulary.model_pieces]
    ids, val_ids = (np.fromiter(chain.from_iterable(part), np.int64) for part in (train, val))
    known = ids[ids < len(written)]
    used = np.union1d(known, val_ids[val_ids < len(written)]).tolist()
    # Digits and signs belong to all scripts.
    scripts = {"", *map(script, set("".join(written[index] for index in used)))}
    required = np.array([*fixed, *vocabulary.required(scripts)], np.int64)
    needed = np.sort(vocabulary.with_ancestors(np.union1d(ids, required)))
    corpus = "".join(written[index] for index in known[:CORPUS_CHARACTERS].tolist())
    order = vocabulary.with_ancestors(rank_pieces(written, vocabulary.scores, corpus, scripts))
    return needed, order[~np.isin(order, needed)]


def _trim_embeddings(model: PreTrainedModel, kept_ids: IntArray) -> None:
    """Keep the rows ``kept_ids`` of the word embeddings; the config gets the new size and ids."""
    import torch
    from torch import nn

    inputs = model.get_input_embeddings()
    words = inputs.weight
    if (rows := len(words)) <= kept_ids[-1]:
        raise EncoderError(
            f"the model has {rows} embeddings and the tokenizer has an id {kept_ids[-1]}: they do "
            "not belong together."
        )
    kept_words = nn.Parameter(words.detach()[torch.from_numpy(kept_ids)])
    for module in model.modules():
        if getattr(module, "weight", None) is words:  # some families use it in several places
            module.weight = kept_words
            module.num_embeddings = len(kept_ids)
    new_ids = {old_id: new_id for new_id, old_id in enumerate(kept_ids.tolist())}
    if inputs.padding_idx is not None:
        inputs.padding_idx = new_ids.get(inputs.padding_idx)
    config = model.config.get_text_config()
    config.vocab_size = len(new_ids)
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_ids.get(value))
