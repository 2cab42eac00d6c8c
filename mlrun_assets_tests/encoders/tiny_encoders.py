"""Tiny encoders: one with a hand-made Unigram vocabulary, one of each family, and an E5S1 file.

The encoders of the families are as published: the family's own tokenizer class, ids in its order,
and, as for mDeBERTa and E5, more rows of embeddings than the tokenizer has ids.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import trim
from mlrun_assets.types import Float32Array
from mlrun_assets_tests.examples import sample_rows, settled

SOMALI = (
    "Waxaan ku noolahay magaalada Muqdisho, halkaas oo badda u dhow.",
    "Ciyaartoydu waxay ka guuleysteen kooxda kale shan gool iyo laba.",
    "Dhakhaatiirtu waxay sheegeen in caafimaadka carruurta uu soo hagaagayo.",
    "Beeralaydu roobka ayay sugayaan si ay abuurka u beertaan sanadkan.",
    "Ganacsatada suuqa ayaa sheegay in qiimaha cuntada uu kor u kacay 15%.",
    "Ardaydu waxay imtixaanka galeen bishii June, natiijaduna way soo baxday.",
    "Doorashada madaxweynaha waxaa la qaban doonaa sanadka soo socda.",
    "Kooxda kubbadda cagta ee gobolka waxay ciyaartay ciyaar adag.",
)
OTHERS = (
    "The children went to school early in the morning and came back at noon.",
    "Doctors said that the health of the children is getting better.",
    "الأطفال يذهبون إلى المدرسة في الصباح الباكر",
    "ልጆች ወደ ትምህርት ቤት ሄዱ",
)

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def directory_source(directory: Path) -> EncoderSource:
    return EncoderSource(directory.name, str(directory), None, "directory")


def wrapped(backend: Any, **more: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **SPECIAL_TOKENS, model_max_length=62, **more
    )


def tiny_config(name: str, vocabulary: int, **more: Any) -> Any:
    from transformers import CONFIG_MAPPING

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 64, "vocab_size": vocabulary}
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    return CONFIG_MAPPING[name](**(sizes | special | more))


def pieces_of(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    return tokens


def trimmed_tokenizer(tokenizer: Any, texts: Sequence[str], budget: int) -> Any:
    """The tokenizer as `trim` cuts it together with a tiny model, without val texts."""
    from transformers import BertModel

    model = BertModel(tiny_config("bert", len(tokenizer)))
    return trim(tokenizer, model, texts, (), budget)[0]


# An encoder of each family

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


def write_encoder(family: str, directory: Path) -> Any:
    """A directory as a download would be; returns its tokenizer."""
    import torch
    from transformers import AutoModel

    tokenizer = TOKENIZERS[family]()
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    special = {name: getattr(tokenizer, name) for name in names}
    rows = len(tokenizer) + SPARE_ROWS
    config = tiny_config(
        family, rows, max_position_embeddings=POSITIONS, **special, **SETTINGS[family]
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    with torch.no_grad():  # as pretraining leaves it: no row is like another
        model.get_input_embeddings().weight.normal_()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return tokenizer


# A tiny E5S1 file

TINY = {"hidden": 32, "layers": 1, "heads": 2, "feed_forward": 64, "positions": 16, "types": 2}
TINY_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "fi", "<mask>")
TINY_SCORES = (0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -3.5, -4.0, -4.5, 0.0)


def tiny_tensors() -> dict[str, Float32Array]:
    """One layer; the vocabulary has two rows more than there are pieces."""
    generator = np.random.default_rng(0)
    hidden, inner = TINY["hidden"], TINY["feed_forward"]
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (len(TINY_PIECES) + 2, hidden),
        "emb.pos": (TINY["positions"], hidden),
        "emb.type": (TINY["types"], hidden),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
        "l0.fi.w": (inner, hidden),
        "l0.fi.b": (inner,),
        "l0.fo.w": (hidden, inner),
        "l0.fo.b": (hidden,),
    }
    for part in ("q", "k", "v", "ao"):
        shapes |= {f"l0.{part}.w": (hidden, hidden), f"l0.{part}.b": (hidden,)}
    for part in ("aln", "oln"):
        shapes |= {f"l0.{part}.w": (hidden,), f"l0.{part}.b": (hidden,)}
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def e5s1_bytes(character_map: dict[str, str]) -> bytes:
    """An E5S1 file with ``tiny_tensors``, all of them in float32."""
    vocabulary = len(TINY_PIECES) + 2
    sizes = (TINY["hidden"], TINY["layers"], TINY["heads"], TINY["feed_forward"])
    head = b"E5S1" + struct.pack(
        "<I7ifi", 1, *sizes, vocabulary, TINY["positions"], TINY["types"], 1e-12, 32
    )
    encoded = [piece.encode() for piece in TINY_PIECES]
    offsets = np.cumsum([0, *map(len, encoded)])
    pieces = struct.pack("<5iQ", len(encoded), 0, 2, 1, 3, offsets[-1])
    pieces += offsets.astype("<u4").tobytes() + np.array(TINY_SCORES, "<f4").tobytes()
    pieces += b"".join(encoded)
    entries = b"".join(
        struct.pack(f"<IB{len(value)}I", ord(key), len(value), *map(ord, value))
        for key, value in character_map.items()
    )
    characters = struct.pack("<iI", len(character_map), len(entries)) + entries
    tensors = tiny_tensors()
    table_size = 4 + sum(2 + len(name) + 21 for name in tensors)
    offset = len(head) + len(pieces) + len(characters) + table_size
    table, body = struct.pack("<i", len(tensors)), b""
    for name, values in tensors.items():
        table += struct.pack("<H", len(name)) + name.encode()
        table += struct.pack("<BIQQ", 0, values.size, offset + len(body), values.nbytes)
        body += values.tobytes()
    return head + pieces + characters + table + body
