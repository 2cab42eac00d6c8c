"""Files as this package writes them: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one.

    Text is UTF-8 and its newlines are kept as they are.

    Raises:
        OSError: the directory can't be written or the disk is full; ``path`` is unchanged.
    """
    with open_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name ``path`` when the block ends, and vanishes when it fails.

    The bytes go to a temporary file in the same directory, are flushed to the disk, and take the
    name in one step. A file that exists keeps its permissions.

    Raises:
        OSError: the directory can't be written or the disk is full; ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # the system names no file that was open already
        raise
    sync_directory(path.parent)


def link_directory(source: Path, target: Path) -> None:
    """Make ``target`` a directory with the files of ``source``, in one step.

    They are hard links, which take no room, where the file system has them, and copies where not. A
    ``target`` that exists is replaced.

    Raises:
        OSError: a file can't be read, or the disk is full; ``target`` is unchanged.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished, copy_function=_link_or_copy)
    if target.exists():
        shutil.rmtree(target)
    unfinished.rename(target)
    sync_directory(target.parent)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_bytes(content: bytes) -> str:
    """``sha256:`` and the hex digest of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_file(path: Path) -> str:
    """``sha256:`` and the hex digest of one file, read in pieces."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_directory(path: Path) -> str:
    """One digest for all files below ``path``: of their relative names and contents."""
    lines = [
        f"{file.relative_to(path).as_posix()}\t{digest_file(file)}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return digest_bytes("".join(lines).encode("utf-8"))


def size_in_bytes(path: Path) -> int:
    """The size of a file, or of all files below a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
