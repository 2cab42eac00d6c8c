"""Read an ``E5S1`` file: a BERT with 4-bit weights, and its Unigram tokenizer.

Little-endian: magic, header, pieces (offsets, scores, UTF-8 blob), character map, table of
tensors, tensors. A tensor is f32, or q4: blocks of 32 weights as one f16 scale and 16 bytes whose
low nibbles are weights 0-15 and whose high nibbles are weights 16-31; a weight is
``(nibble - 8) * scale``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlrun_assets.errors import EncoderError
from mlrun_assets.machine import telemetry_off
from mlrun_assets.types import Float32Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer
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
    cursor = _Cursor(content)
    if (magic := cursor.bytes(4)) != b"E5S1":
        raise ValueError(f"not an E5S1 file: it starts with {magic!r}")
    header = Header(*cursor.unpack("<I7ifi"))
    if header.block != BLOCK:
        raise ValueError(f"blocks of {header.block} weights; {BLOCK} are understood")
    return Q4File(header, _pieces(cursor), _character_map(cursor), _tensors(cursor))


def dequantise(blocks: bytes) -> Float32Array:
    """The weights of q4 blocks; a block of 18 bytes has 32 weights."""
    raw = np.frombuffer(blocks, dtype=[("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
    nibbles = np.concatenate([raw["nibbles"] & 0x0F, raw["nibbles"] >> 4], axis=1)
    weights = nibbles.astype(np.float32) - NIBBLE_ZERO
    weights *= raw["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def _pieces(cursor: _Cursor) -> Pieces:
    count, bos, eos, pad, unk = cursor.unpack("<5i")
    (blob_length,) = cursor.unpack("<Q")
    offsets = cursor.array("<u4", count + 1).tolist()
    scores = cursor.array("<f4", count).tolist()
    blob = cursor.bytes(blob_length)
    texts = [blob[start:end].decode("utf-8") for start, end in pairwise(offsets)]
    return Pieces(tuple(texts), tuple(scores), bos, eos, pad, unk)


def _character_map(cursor: _Cursor) -> dict[str, str]:
    """Normal forms of single characters, a part of XLM-R's normaliser."""
    count, _ = cursor.unpack("<iI")
    mapping = {}
    for _ in range(count):
        character, length = cursor.unpack("<IB")
        mapping[chr(character)] = "".join(map(chr, cursor.unpack(f"<{length}I")))
    return mapping


def _tensors(cursor: _Cursor) -> dict[str, Float32Array]:
    (count,) = cursor.unpack("<i")
    tensors = {}
    for _ in range(count):
        (name_length,) = cursor.unpack("<H")
        name = cursor.bytes(name_length).decode("utf-8")
        kind, size, offset, length = cursor.unpack("<BIQQ")
        stored = cursor.content[offset : offset + length]
        weights = dequantise(stored) if kind == Q4 else np.frombuffer(stored, dtype="<f4")
        if kind not in (F32, Q4) or len(weights) != size:
            raise ValueError(f"tensor {name}: {len(weights)} weights of type {kind}, not {size}")
        tensors[name] = weights
    return tensors


class _Cursor:
    """A position in the file that advances as values are read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.offset = 0

    def bytes(self, length: int) -> bytes:
        taken = self.content[self.offset : self.offset + length]
        self.offset += length
        return taken

    def unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self.content, self.offset)
        self.offset += struct.calcsize(form)
        return values

    def array(self, kind: str, count: int) -> NDArray[Any]:
        return np.frombuffer(self.bytes(np.dtype(kind).itemsize * count), dtype=kind)


# The tokenizer

METASPACE = "▁"
# Newer maps keep the zero-width joiner; the map that XLM-R was trained with makes it a space.
ZERO_WIDTH_JOINER = "\u200d"
# Field numbers of sentencepiece's ModelProto and NormalizerSpec.
NORMALIZER_SPEC, PRECOMPILED_CHARSMAP = 3, 2


def build_xlmr_tokenizer(
    pieces: Pieces, character_map: dict[str, str], positions: int
) -> PreTrainedTokenizerFast:
    """The tokenizer of XLM-R with its special tokens, for at most ``positions`` tokens.

    Raises:
        EncoderError: the installed sentencepiece normalises characters differently.
    """
    telemetry_off()
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    texts = pieces.texts
    backend = _backend(pieces)
    _check_normalizer(backend, character_map)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=texts[pieces.bos],
        eos_token=texts[pieces.eos],
        cls_token=texts[pieces.bos],
        sep_token=texts[pieces.eos],
        pad_token=texts[pieces.pad],
        unk_token=texts[pieces.unk],
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        model_max_length=positions,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _backend(pieces: Pieces) -> Tokenizer:
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    texts, bos, eos = pieces.texts, pieces.texts[pieces.bos], pieces.texts[pieces.eos]
    vocabulary = list(zip(texts, pieces.scores, strict=True))
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=pieces.unk, byte_fallback=False))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(ZERO_WIDTH_JOINER, " "),
            normalizers.Precompiled(nmt_nfkc_map()),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(METASPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(METASPACE, prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, pieces.bos), (eos, pieces.eos)],
    )
    return backend


def _check_normalizer(backend: Tokenizer, character_map: dict[str, str]) -> None:
    normalize = backend.normalizer.normalize_str
    wrong = [text for text, expected in character_map.items() if normalize(text) != expected]
    if wrong:
        raise EncoderError(
            f"the installed sentencepiece normalises {len(wrong)} characters unlike XLM-R "
            f"(the first is U+{ord(wrong[0]):04X}): install sentencepiece 0.2."
        )


def nmt_nfkc_map() -> bytes:
    """SentencePiece's compiled ``nmt_nfkc`` map, as ``normalizers.Precompiled`` reads it.

    The protobuf message is parsed here, because sentencepiece's own classes need a protobuf at
    least as new as the one that generated them.
    """
    from sentencepiece import SentencePieceNormalizer

    model = SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
    return _field(_field(model, NORMALIZER_SPEC), PRECOMPILED_CHARSMAP)


def _field(message: bytes, number: int) -> bytes:
    """The first length-delimited field ``number`` of a protobuf message."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        wire_type = key & 7
        if wire_type == 0:
            _, offset = _varint(message, offset)
        elif wire_type == 2:
            length, offset = _varint(message, offset)
            if key >> 3 == number:
                return message[offset : offset + length]
            offset += length
        else:
            offset += 8 if wire_type == 1 else 4
    raise EncoderError(
        f"the installed sentencepiece has no nmt_nfkc map in field {number}: "
        "install sentencepiece 0.2."
    )


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    """The variable-length integer at ``offset``, and the offset behind it."""
    value = shift = 0
    while True:
        byte = message[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, offset
