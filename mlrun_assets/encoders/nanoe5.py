"""Read an ``E5S1`` file: a BERT with 4-bit weights, and its Unigram tokenizer.

Little-endian: magic, header, pieces (offsets, scores, UTF-8 blob), character map, table of
tensors, tensors. A tensor is f32, or q4: blocks of 32 weights as one f16 scale and 16 bytes whose
low nibbles are weights 0-15 and whose high nibbles are weights 16-31; a weight is
``(nibble - 8) * scale``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun_assets.errors import EncoderError
from mlrun_assets.types import Float32Array

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


BLOCK = 32
NIBBLE_ZERO = 8
F32, Q4 = 0, 1


@dataclass(frozen=True)
class Header:
    """The sizes of the model."""

    version: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    layer_norm_epsilon: float
    block: int


@dataclass(frozen=True)
class Pieces:
    """The Unigram vocabulary in order of the ids, and the ids of its special pieces."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class Q4File:
    """The content of the file; the tensors are 1-D, as stored."""

    header: Header
    pieces: Pieces
    character_map: dict[str, str]
    tensors: dict[str, Float32Array]


def read_q4_file(content: bytes) -> Q4File:
    """Parse the bytes of a file whose digest was verified; nothing in it is executed.

    Raises:
        struct.error, ValueError: the bytes are not such a file.
    """
    stream = BytesIO(content)
    if (magic := stream.read(4)) != b"E5S1":
        raise ValueError(f"not an E5S1 file: it starts with {magic!r}")
    header = Header(*_unpack(stream, "<I7ifi"))
    if header.block != BLOCK:
        raise ValueError(f"blocks of {header.block} weights; {BLOCK} are understood")
    count, bos, eos, pad, unk, blob_length = _unpack(stream, "<5iQ")
    offsets = np.frombuffer(stream.read(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(stream.read(4 * count), "<f4").tolist()
    blob = stream.read(blob_length)
    texts = tuple(blob[start:end].decode("utf-8") for start, end in pairwise(offsets))
    pieces = Pieces(texts, tuple(scores), bos, eos, pad, unk)
    character_map = {}
    for _ in range(_unpack(stream, "<iI")[0]):
        character, length = _unpack(stream, "<IB")
        character_map[chr(character)] = "".join(map(chr, _unpack(stream, f"<{length}I")))
    tensors = {}
    for _ in range(*_unpack(stream, "<i")):
        name = stream.read(*_unpack(stream, "<H")).decode("utf-8")
        kind, size, offset, length = _unpack(stream, "<BIQQ")
        stored = content[offset : offset + length]
        weights = dequantise(stored) if kind == Q4 else np.frombuffer(stored, dtype="<f4")
        if kind not in (F32, Q4) or len(weights) != size:
            raise ValueError(f"tensor {name}: {len(weights)} weights of type {kind}, not {size}")
        tensors[name] = weights
    return Q4File(header, pieces, character_map, tensors)


def _unpack(stream: BytesIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, stream.read(struct.calcsize(form)))


def dequantise(blocks: bytes) -> Float32Array:
    """The weights of q4 blocks; a block of 18 bytes has 32 weights."""
    raw = np.frombuffer(blocks, dtype=[("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
    nibbles = np.concatenate([raw["nibbles"] & 0x0F, raw["nibbles"] >> 4], axis=1)
    weights = nibbles.astype(np.float32) - NIBBLE_ZERO
    weights *= raw["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


# The tokenizer

METASPACE = "▁"
# Newer maps keep the zero-width joiner; the map that XLM-R was trained with makes it a space.
ZERO_WIDTH_JOINER = "\u200d"
# Field numbers of sentencepiece's ModelProto and NormalizerSpec.
NORMALIZER_SPEC, PRECOMPILED_CHARSMAP = 3, 2


def build_xlmr_tokenizer(file: Q4File) -> PreTrainedTokenizerFast:
    """The tokenizer of XLM-R with its special tokens, for texts of the model's length.

    Raises:
        EncoderError: the installed sentencepiece normalises characters differently.
    """
    import tokenizers
    from tokenizers import normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = file.pieces
    texts, bos, eos = pieces.texts, pieces.texts[pieces.bos], pieces.texts[pieces.eos]
    vocabulary = list(zip(texts, pieces.scores, strict=True))
    backend = tokenizers.Tokenizer(
        tokenizers.models.Unigram(vocabulary, unk_id=pieces.unk, byte_fallback=False)
    )
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(ZERO_WIDTH_JOINER, " "),
            normalizers.Precompiled(nmt_nfkc_map()),
            normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
        ]
    )
    normalize = backend.normalizer.normalize_str
    wrong = [text for text, normal in file.character_map.items() if normalize(text) != normal]
    if wrong:
        raise EncoderError(
            f"the installed sentencepiece normalises {len(wrong)} characters unlike XLM-R "
            f"(the first is U+{ord(wrong[0]):04X}): install sentencepiece 0.2."
        )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(METASPACE, prepend_scheme="always")
    backend.decoder = tokenizers.decoders.Metaspace(METASPACE, prepend_scheme="always")
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, pieces.bos), (eos, pieces.eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        cls_token=bos,
        sep_token=eos,
        pad_token=texts[pieces.pad],
        unk_token=texts[pieces.unk],
        mask_token=tokenizers.AddedToken("<mask>", lstrip=True, special=True),
        model_max_length=file.header.positions,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def nmt_nfkc_map() -> bytes:
    """SentencePiece's compiled ``nmt_nfkc`` map, as ``normalizers.Precompiled`` reads it.

    Raises:
        EncoderError: the installed sentencepiece stores it in another way.
    """
    from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
    from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]
    from sentencepiece import SentencePieceNormalizer

    # sentencepiece's own classes need a protobuf at least as new as the one that generated them.
    message = SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
    for number in (NORMALIZER_SPEC, PRECOMPILED_CHARSMAP):
        fields = {
            field.field_number: field.data for field in UnknownFieldSet(Empty.FromString(message))
        }
        if number not in fields:
            raise EncoderError(
                f"the installed sentencepiece has no nmt_nfkc map in field {number}: "
                "install sentencepiece 0.2."
            )
        message = fields[number]
    return message
