"""Vocabulary trimming: an encoder with the word pieces that a language needs, and no others.

Of multilingual-e5-small's 118M parameters 96M are rows of 250k pieces, most of which a language
never meets. As in Abdaoui et al., 2020 (*Load What You Need*), rows are dropped and the rest of
the model is untouched; but the tokenizer is rebuilt from the kept pieces, so that a word whose
piece was dropped is spelled with smaller ones and never becomes ``<unk>``. A text whose pieces are
all kept is segmented as before, and the trimmed model gives what the whole one gave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlrun_assets.encoders.piece_ranking import CORPUS_CHARACTERS, rank_pieces, script
from mlrun_assets.encoders.vocabulary import (
    BytePair,
    Unigram,
    Vocabulary,
    WordPiece,
    tokenizer_data,
)
from mlrun_assets.errors import EncoderError
from mlrun_assets.records import VocabularyTrim
from mlrun_assets.types import IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


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


# 30k pieces of multilingual-e5-small are 11.5M parameters, half of the layers' 21M: a larger
# vocabulary is what takes the memory and the time, a smaller one saves little more.
VOCABULARY_BUDGET = 30_000
# Where the val texts need more than this share of tokens more, the budget grows by a quarter.
MAX_FERTILITY_GROWTH = 0.01
BUDGET_STEP = 1.25
# RoBERTa counts positions from the padding id, so that id must not move.
FRONT = 100
KINDS: dict[str, type[Vocabulary]] = {
    vocabulary.kind: vocabulary for vocabulary in (Unigram, WordPiece, BytePair)
}


def can_trim(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Why the vocabulary can't be trimmed; None: it can."""
    if not tokenizer.is_fast:
        return "its tokenizer is not backed by the tokenizers library"
    backend = tokenizer.backend_tokenizer
    kind = type(backend.model).__name__
    if kind not in KINDS:
        return f"its tokenizer is a {kind} model, and only {', '.join(KINDS)} can lose pieces"
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= FRONT:
        return "its padding token does not stand at the front of the vocabulary"
    return KINDS[kind].refusal(backend)


def require_trimmable(tokenizer: PreTrainedTokenizerFast) -> None:
    """Check that the vocabulary can be trimmed.

    Raises:
        EncoderError: it can't; the message says why.
    """
    if reason := can_trim(tokenizer):
        raise EncoderError(
            f"the vocabulary can't be trimmed: {reason}. Set model.trim_vocabulary to false."
        )


def plan_trim(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], budget: int = VOCABULARY_BUDGET
) -> IntArray:
    """The ids to keep, ascending.

    Kept are the special tokens, every piece that the texts use, every single character (of Han and
    Hangul only if they occur) or byte, and, up to ``budget`` pieces, those that look most like the
    texts.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    vocabulary = _read(tokenizer)
    encoded = _encode(tokenizer, texts)
    scripts = scripts_of(vocabulary, encoded)
    return rank_ids(vocabulary, _fixed(tokenizer), encoded, scripts).within(budget)


def trim_tokenizer(
    tokenizer: PreTrainedTokenizerFast, kept_ids: IntArray
) -> PreTrainedTokenizerFast:
    """The tokenizer with the pieces ``kept_ids``, which become ids 0, 1, 2, ... in their order.

    They are ascending. ``plan_trim`` gives those that leave a tokenizer which works as before; a
    piece that can't be reached by merges is only dead weight.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    return _rebuilt(tokenizer, _read(tokenizer), kept_ids)


def trim(
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    texts: Sequence[str],
    val_texts: Sequence[str],
) -> tuple[PreTrainedTokenizerFast, VocabularyTrim]:
    """Trim the vocabulary to the training ``texts``; ``model`` is changed in place.

    The budget is raised until ``val_texts`` need at most 1 % more tokens than before and hold no
    more unknown ones: a small training set knows too few pieces to tell by itself. At worst all
    pieces are kept. The model may be a classifier or a language model.

    Returns:
        The new tokenizer, and what trimming did.

    Raises:
        EncoderError: the vocabulary can't be trimmed; the message says why.
    """
    vocabulary = _read(tokenizer)
    train, val = _encode(tokenizer, texts), _encode(tokenizer, val_texts)
    ranked = rank_ids(vocabulary, _fixed(tokenizer), train, scripts_of(vocabulary, [*train, *val]))
    tokens, unknown = _count(tokenizer, val)
    parameters, budget = model.num_parameters(), VOCABULARY_BUDGET
    while True:
        kept = ranked.within(budget)
        trimmed = _rebuilt(tokenizer, vocabulary, kept)
        tokens_after, unknown_after = _count(trimmed, _encode(trimmed, val_texts))
        fits = tokens_after <= tokens * (1 + MAX_FERTILITY_GROWTH) and unknown_after <= unknown
        if fits or len(kept) == len(vocabulary.pieces):
            break
        budget = math.ceil(len(kept) * BUDGET_STEP)
    trim_embeddings(model, kept)
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


def _read(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    require_trimmable(tokenizer)
    backend = tokenizer.backend_tokenizer
    return KINDS[type(backend.model).__name__](tokenizer_data(backend))


def _fixed(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Special and added tokens, and all ids up to that of padding, which keep their places."""
    front = range(tokenizer.pad_token_id + 1)
    return [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder, *front]


def _rebuilt(
    tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, kept: IntArray
) -> PreTrainedTokenizerFast:
    """The plain class is used: it reads ``tokenizer.json`` as it stands, others build their own."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.keep(kept),
        **tokenizer.special_tokens_map,
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
    )


def _count(tokenizer: PreTrainedTokenizerFast, encoded: list[list[int]]) -> tuple[int, int]:
    """Tokens and unknown tokens of encoded texts."""
    unknown = sum(ids.count(tokenizer.unk_token_id) for ids in encoded)
    return sum(map(len, encoded)), unknown


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """The ids of the texts, without special tokens and not cut; offsets are not asked for."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    encoded = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [item.ids for item in encoded]


def trim_embeddings(model: PreTrainedModel, kept_ids: IntArray) -> None:
    """Keep the rows ``kept_ids`` of everything in ``model`` that is as long as its vocabulary.

    That is the input embeddings and, in a language model, the output layer with its bias, tied or
    not. The config's vocabulary size and special ids follow. ``model`` is changed in place.

    Raises:
        EncoderError: the model has fewer rows than the tokenizer has ids.
    """
    import torch

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if (rows := inputs.weight.shape[0]) <= kept_ids[-1]:
        raise EncoderError(
            f"the model has {rows} embeddings and the tokenizer an id {kept_ids[-1]}: they do not "
            "belong together."
        )
    _cut_rows(model, _vocabulary_parameters(model, rows), torch.from_numpy(kept_ids))
    inputs.num_embeddings = len(kept_ids)
    if outputs is not None and outputs.weight.shape[0] == len(kept_ids):
        outputs.out_features = len(kept_ids)
    new_ids = {old_id: new_id for new_id, old_id in enumerate(kept_ids.tolist())}
    if inputs.padding_idx is not None:
        inputs.padding_idx = new_ids.get(inputs.padding_idx)
    _update_config(model, new_ids)


def _vocabulary_parameters(model: PreTrainedModel, rows: int) -> list[nn.Parameter]:
    """Input embeddings, output layer, and biases of the language-model head, tied or not.

    What DeBERTa's newer head calls its output layer is a layer before it: its output is multiplied
    by the input embeddings, and only its bias is as long as the vocabulary.
    """
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs is None:
        return [inputs.weight]
    biases = [
        parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name.endswith("bias")
        and parameter.shape == (rows,)
        and not name.startswith(f"{model.base_model_prefix}.")
    ]
    weights = [inputs.weight, outputs.weight]
    return [*(weight for weight in weights if weight.shape == inputs.weight.shape), *biases]


def _cut_rows(model: nn.Module, parameters: list[nn.Parameter], index: Tensor) -> None:
    """Cut the rows of the parameters, wherever in the model each of them is used."""
    from torch import nn

    cut = {
        id(parameter): nn.Parameter(
            parameter.detach()[index], requires_grad=parameter.requires_grad
        )
        for parameter in parameters
    }
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) in cut:
                setattr(module, name, cut[id(parameter)])


def _update_config(model: PreTrainedModel, new_ids: dict[int, int]) -> None:
    config = model.config.get_text_config()
    config.vocab_size = len(new_ids)
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, new_ids.get(value))
