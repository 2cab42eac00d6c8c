"""A safetensors file without its tensors: whether it is whole, and what is in it."""

from __future__ import annotations

from pathlib import Path

import orjson

from mlrun_assets.errors import EncoderError

LENGTH_BYTES = 8
LFS_POINTER = b"version https://git-lfs"
COPY_AGAIN = "download or copy the model again."


def check_whole(file: Path) -> None:
    """Check that a safetensors file is as long as its header says; its tensors are not read.

    The layout is eight bytes with the length of the header, the header, which is JSON with the
    place of every tensor behind it, and the tensors.

    Raises:
        EncoderError: it is cut off, a pointer of Git LFS, or no safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(LENGTH_BYTES)
        header_bytes = int.from_bytes(start, "little")
        if (start + opened.read(len(LFS_POINTER))).startswith(LFS_POINTER):
            raise EncoderError(
                f"{file} is a pointer of Git LFS, not the weights: run `git lfs pull` in "
                f"{file.parent}."
            )
        if size < LENGTH_BYTES + header_bytes:
            raise EncoderError(f"{file} is cut off after {size:,} bytes: {COPY_AGAIN}")
        opened.seek(LENGTH_BYTES)
        header = opened.read(header_bytes)
    expected = LENGTH_BYTES + header_bytes + _tensor_bytes(file, header)
    if size != expected:
        raise EncoderError(
            f"{file} has {size:,} bytes and should have {expected:,}: it is damaged, or its "
            f"download did not end. {COPY_AGAIN.capitalize()}"
        )


def tensor_names(file: Path) -> frozenset[str]:
    """The names of the tensors of a safetensors file that is whole (see ``check_whole``)."""
    with file.open("rb") as opened:
        header_bytes = int.from_bytes(opened.read(LENGTH_BYTES), "little")
        return frozenset(orjson.loads(opened.read(header_bytes))) - {"__metadata__"}


def _tensor_bytes(file: Path, header: bytes) -> int:
    try:
        tensors = orjson.loads(header)
        entries = [entry for name, entry in tensors.items() if name != "__metadata__"]
        return max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise EncoderError(
            f"{file} is not a safetensors file ({type(error).__name__}): {COPY_AGAIN}"
        ) from error
