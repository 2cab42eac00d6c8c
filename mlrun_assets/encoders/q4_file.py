"""The ``E5S1`` file: a BERT with 4-bit weights and its Unigram tokenizer, read as plain data.

Little-endian: magic, header, pieces (offsets, scores, UTF-8 blob), character map, table of
tensors, tensors. A tensor is f32, or q4: blocks of 32 weights as one f16 scale and 16 bytes whose
low nibbles are weights 0-15 and whose high nibbles are weights 16-31; a weight is
``(nibble - 8) * scale``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlrun_assets.arrays import Float32Array

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
    """The Unigram vocabulary in the order of the ids, and the ids of its special pieces."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class Q4File:
    """Everything that the file holds; the tensors are 1-D, as they are stored."""

    header: Header
    pieces: Pieces
    character_map: dict[str, str]
    tensors: dict[str, Float32Array]


def read_q4_file(content: bytes) -> Q4File:
    """Parse the bytes of a file whose digest is known; nothing in it is executed.

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
    """The weights of q4 blocks, 32 a block of 18 bytes."""
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
    """What single characters are normalised to; a part of XLM-R's whole normaliser."""
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
    """A place in the file that moves on as values are read."""

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
