"""Small encoders as the families publish them, their tokenizers made from the sample.

Each is what a download would be: the family's own tokenizer class, ids in its order, and, as for
mDeBERTa and E5, more rows of embeddings than the tokenizer has ids.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlrun_assets_tests.encoders.conftest import OTHERS
from mlrun_assets_tests.examples import sample_rows, settled

VOCABULARY = 1500
POSITIONS = 66
SPARE_ROWS = 7


def corpus() -> list[str]:
    """More than one language, as a multilingual encoder has seen."""
    return [row["text"] for row in sample_rows("train")] + list(OTHERS) * 5


def trained(tokenizer: Any, trainer: Any) -> dict[str, Any]:
    """The model that training on the corpus leads to, as ``tokenizer.json`` has it."""
    tokenizer.train_from_iterator(corpus(), trainer)
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


def unigram_pieces(special: list[str]) -> list[tuple[str, float]]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=special, unk_token=special[3], show_progress=False
    )
    pieces = [(piece, score) for piece, score in trained(tokenizer, trainer)["vocab"]]
    return settled(pieces, len(special))


def wordpieces(special: list[str]) -> dict[str, int]:
    """The commonest parts of words; `WordPieceTrainer` takes others each time it trains."""
    from tokenizers import pre_tokenizers

    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    counts = Counter(
        f"{'##' if start else ''}{word[start:end]}"
        for text in corpus()
        for word, _ in split(text)
        for start in range(len(word))
        for end in range(start + 1, len(word) + 1)
    )
    characters = sorted(piece for piece in counts if len(piece.removeprefix("##")) == 1)
    longer = sorted(counts.keys() - {*characters}, key=lambda piece: (-counts[piece], piece))
    return {
        piece: number for number, piece in enumerate([*special, *characters, *longer][:VOCABULARY])
    }


def xlmr_tokenizer() -> Any:
    from transformers import XLMRobertaTokenizer

    pieces = unigram_pieces(["<s>", "<pad>", "</s>", "<unk>"])
    return XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=64)


def mdeberta_tokenizer() -> Any:
    """`[MASK]` is no piece of the model: it is added behind."""
    from transformers import DebertaV2Tokenizer

    pieces = unigram_pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"])
    return DebertaV2Tokenizer(vocab=pieces, bos_token="[CLS]", eos_token="[SEP]")


def camembert_tokenizer() -> Any:
    """Some of the first pieces are not used: the special tokens of that name come behind them."""
    from transformers import CamembertTokenizer

    pieces = unigram_pieces(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"])
    special = [("<unk>NOTUSED", -100.0), ("<s>", 0.0), ("</s>", 0.0)]
    return CamembertTokenizer(vocab=[*pieces[:4], *special, *pieces[4:], ("<mask>", 0.0)])


def albert_tokenizer() -> Any:
    from transformers import AlbertTokenizer

    pieces = unigram_pieces(["<pad>", "[CLS]", "[SEP]", "<unk>"])
    return AlbertTokenizer(vocab=[*pieces, ("[MASK]", 0.0)])


def mbert_tokenizer() -> Any:
    """Unused pieces stand between the padding and the other special tokens."""
    from transformers import BertTokenizer

    unused = [f"[unused{number}]" for number in range(1, 20)]
    vocabulary = wordpieces(["[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return BertTokenizer(vocab=vocabulary, do_lower_case=False)


def roberta_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model = trained(tokenizer, trainer)
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=64)


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "xlm-roberta": xlmr_tokenizer,
    "deberta-v2": mdeberta_tokenizer,
    "bert": mbert_tokenizer,
    "electra": mbert_tokenizer,
    "roberta": roberta_tokenizer,
    "camembert": camembert_tokenizer,
    "albert": albert_tokenizer,
}
# mDeBERTa-v3 has relative positions in buckets and no token types; ALBERT and ELECTRA have narrower
# embeddings than states.
SETTINGS: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "bert": {"type_vocab_size": 2},
    "electra": {"type_vocab_size": 2, "embedding_size": 8},
    "albert": {"type_vocab_size": 2, "embedding_size": 8},
    "xlm-roberta": {"type_vocab_size": 1},
    "roberta": {"type_vocab_size": 1},
    "camembert": {"type_vocab_size": 1},
}


def config(family: str, tokenizer: Any, **more: Any) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[family](
        vocab_size=len(tokenizer) + SPARE_ROWS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **SETTINGS[family],
        **more,
    )


def write_encoder(family: str, directory: Path) -> Any:
    """A directory as a download would be; returns its tokenizer."""
    import torch
    from transformers import AutoModelForMaskedLM

    tokenizer = TOKENIZERS[family]()
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config(family, tokenizer))
    with torch.no_grad():  # as pretraining leaves it: no row is like another
        model.get_output_embeddings().bias.normal_()
        model.get_input_embeddings().weight.normal_()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer
