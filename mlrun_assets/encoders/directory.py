"""Check that a directory is an encoder: a config, safetensors weights and a tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from mlrun_assets.errors import EncoderError
from mlrun_assets.files import read_file, write_atomically

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_FILE = "adapter_config.json"
PICKLED_WEIGHTS = "pytorch_model*.bin"
TOKENIZER_FILES = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
)

# The first bytes of a safetensors file: the length of its header.
LENGTH_BYTES = 8
LFS_POINTER = b"version https://git-lfs"
COPY_AGAIN = "download or copy the model again."


def check_directory(path: Path) -> None:
    """Check that ``path`` is a directory that transformers can load without executing anything.

    Takes milliseconds: only the headers of the weights are read.

    Raises:
        EncoderError: the directory, its config, its weights or its tokenizer is missing, the
            weights are cut off or only a pickle, or it is an adapter of another model.
    """
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise EncoderError(f"encoder directory {path} {found}: set model.name to a directory.")
    if (path / ADAPTER_FILE).is_file():
        try:
            adapted = orjson.loads(read_file(path / ADAPTER_FILE))["base_model_name_or_path"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            adapted = "another model"
        raise EncoderError(
            f"{path} holds {ADAPTER_FILE}: an adapter (such as LoRA) of {adapted}, which is "
            "not a model and can't be loaded. Merge the two once with peft: "
            "`AutoPeftModel.from_pretrained(directory).merge_and_unload().save_pretrained(merged)`."
        )
    if not (path / CONFIG_FILE).is_file():
        raise EncoderError(
            f"{path} holds no {CONFIG_FILE}: it is not a model directory. "
            "Write one with `model.save_pretrained(directory)`."
        )
    for file in _weight_files(path):
        _check_whole(file)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise EncoderError(
            f"{path} holds no tokenizer ({', '.join(TOKENIZER_FILES)}). "
            "Add the encoder's own with `tokenizer.save_pretrained(directory)`."
        )


def weight_names(path: Path) -> Collection[str]:
    """Names of the weights in a checked directory; only headers are read."""
    from safetensors import safe_open

    if (path / WEIGHTS_FILE).is_file():
        with safe_open(path / WEIGHTS_FILE, "numpy") as file:
            return list(file.keys())
    return dict(orjson.loads(read_file(path / INDEX_FILE))["weight_map"])


def _weight_files(path: Path) -> list[Path]:
    """The safetensors file of a directory, or its shards."""
    if (path / WEIGHTS_FILE).is_file():
        return [path / WEIGHTS_FILE]
    if (path / INDEX_FILE).is_file():
        try:
            index = orjson.loads(read_file(path / INDEX_FILE))
            shards = sorted({str(name) for name in index["weight_map"].values()})
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(
                f"{path / INDEX_FILE} is not an index of weights ({error!r}): {COPY_AGAIN}"
            ) from error
        # One from elsewhere would not be in the digest of the directory.
        own = (name for name in shards if Path(name).name == name)
        if missing := sorted({*shards}.difference(name for name in own if (path / name).is_file())):
            raise EncoderError(
                f"{path} lacks {', '.join(missing)}, which {INDEX_FILE} names: {COPY_AGAIN}"
            )
        return [path / name for name in shards]
    if any(path.glob(PICKLED_WEIGHTS)):
        raise EncoderError(
            f"{path} holds its weights only as {PICKLED_WEIGHTS}. That is a pickle, which can "
            "execute code, and is never loaded here. If you trust its source, convert it once: "
            f"`AutoModel.from_pretrained({str(path)!r}).save_pretrained({str(path)!r})` "
            f"writes {WEIGHTS_FILE}."
        )
    raise EncoderError(
        f"{path} holds no weights: {WEIGHTS_FILE} or {INDEX_FILE} is expected. "
        "Write them with `model.save_pretrained(directory)`."
    )


def _check_whole(file: Path) -> None:
    """Check that a safetensors file has the length given in its header; tensors are not read.

    The layout is: eight bytes with the length of the header, the header (JSON with the offsets of
    the tensors), the tensors.

    Raises:
        EncoderError: it is cut off, a pointer of Git LFS, or not a safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(len(LFS_POINTER))
        header_bytes = int.from_bytes(start[:LENGTH_BYTES], "little")
        if start == LFS_POINTER:
            raise EncoderError(
                f"{file} is a pointer of Git LFS, not the weights: run `git lfs pull` in "
                f"{file.parent}."
            )
        if size < LENGTH_BYTES + header_bytes:
            raise EncoderError(f"{file} is cut off after {size:,} bytes: {COPY_AGAIN}")
        opened.seek(LENGTH_BYTES)
        header = opened.read(header_bytes)
    try:
        tensors = [entry for name, entry in orjson.loads(header).items() if name != "__metadata__"]
        tensor_bytes = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise EncoderError(
            f"{file} is not a safetensors file ({type(error).__name__}): {COPY_AGAIN}"
        ) from error
    if size != (expected := LENGTH_BYTES + header_bytes + tensor_bytes):
        raise EncoderError(
            f"{file} has {size:,} bytes and should have {expected:,}: it is damaged, or its "
            f"download did not end. {COPY_AGAIN.capitalize()}"
        )


# Code that an encoder names

CODE_KEYS = frozenset({"auto_map", "custom_pipelines"})
# `owner/repository--module.Class`
FOREIGN_CODE = re.compile(r"\S*--[\w./]+\.\w+")
LABEL_KEYS = frozenset({"id2label", "label2id"})


def hub_kernels(settings: Any) -> list[str]:
    """The kernels of the Hub that a config names as its attention; transformers fetches code."""
    if isinstance(settings, list):
        return [kernel for each in settings for kernel in hub_kernels(each)]
    if not isinstance(settings, dict):
        return []
    own = [
        name
        for key, value in settings.items()
        if key.endswith("attn_implementation")
        for name in (value.values() if isinstance(value, dict) else [value])
        if "/" in str(name)
    ]
    return [*map(str, own), *hub_kernels(list(settings.values()))]


def remove_code(model_dir: Path) -> None:
    """Remove the names of code from all configs of a saved model.

    transformers copies them from the encoder. They are not used here, but who loads a model with
    ``trust_remote_code=True``, as a model with n-grams needs it, would run them.
    """
    for file in model_dir.rglob("*config.json"):
        settings = json.loads(file.read_text(encoding="utf-8"))
        if (kept := _without_code(settings)) != settings:
            write_atomically(file, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def _without_code(settings: Any) -> Any:
    if isinstance(settings, list):
        return [_without_code(each) for each in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        key: value if key in LABEL_KEYS else _without_code(value)
        for key, value in settings.items()
        if key not in CODE_KEYS and not (isinstance(value, str) and FOREIGN_CODE.fullmatch(value))
    }
