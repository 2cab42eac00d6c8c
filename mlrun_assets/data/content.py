"""Data files opened: their format, and their bytes decompressed.

The first bytes of a file decide its compression, because wrong suffixes are common. Its name
decides the format of the rows, because the bytes of CSV and TSV look the same.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mlrun_assets.errors import DataError

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".zst")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# First bytes of files that are not lines of UTF-8, and the advice for each.
_FOREIGN = {
    b"PAR1": "a Parquet file; rename it to end in .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export it as CSV",
    b"BZh": "compressed with bzip2; use gzip or zstd",
    b"\xfd7zXZ": "compressed with xz; use gzip or zstd",
    b"%PDF": "a PDF; export the rows as CSV or JSON Lines",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; export it as CSV",
    b"SQLite format": "a SQLite database; export the rows as CSV or JSON Lines",
    _GZIP: "compressed twice; decompress it once",
    _ZSTD: "compressed twice; decompress it once",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}
_BUFFER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16


def format_of(name: str) -> str | None:
    """``jsonl``, ``csv``, ``tsv`` or ``parquet``, by the suffix; None if it is unknown."""
    path = PurePosixPath(name.lower())
    return FORMATS.get(path.with_suffix("").suffix if path.suffix in COMPRESSED else path.suffix)


@contextmanager
def open_content(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open the decompressed bytes of a file, up to the size it has now.

    Raises:
        DataError: the file is of a foreign format, or its compression is damaged.
        OSError: the file can't be read.
    """
    with path.open("rb") as opened:
        plain = _decompressed(_buffered(_bounded(opened, os.fstat(opened.fileno()).st_size)), name)
        start = plain.peek(16)[:16]
        for mark, meaning in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{name}: {meaning}")
        if len(start) >= 4 and (start[0] == start[2] == 0 or start[1] == start[3] == 0):
            raise DataError(f"{name}: UTF-16; save it as UTF-8")
        yield plain


def _bounded(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of a file, so that reading ends even if the file grows."""
    while content := file.read(min(_BUFFER_BYTES, size)):
        size -= len(content)
        yield content


def _decompressed(file: io.BufferedReader, name: str) -> io.BufferedReader:
    start = file.peek(4)
    if start.startswith(_GZIP):
        # 31: the largest window, and gzip's own header and checksum.
        return _buffered(_members(file, name, partial(zlib.decompressobj, 31)))
    if start.startswith(_ZSTD):
        from zstandard import ZstdDecompressor

        return _buffered(_members(file, name, ZstdDecompressor().decompressobj))
    return file


def _members(file: BinaryIO, name: str, new_member: Callable[[], Any]) -> Iterator[bytes]:
    """The content of all gzip or zstd members; a truncated member is an error.

    The streaming reader of `zstandard` accepts a truncated frame, so it is not used.
    """
    from zstandard import ZstdError

    member, compressed = None, b""
    while compressed := compressed or file.read(_CHUNK_BYTES):
        member = member or new_member()
        try:
            content = member.decompress(compressed)
        except (zlib.error, ZstdError) as error:
            why = f"its compressed data is damaged ({error}); write it again"
            raise DataError(f"{name}: {why}") from None
        yield content
        compressed = b""
        if member.eof:
            # Some tools pad the file with zero bytes after the last member.
            compressed, member = member.unused_data.lstrip(b"\0"), None
    if member is not None:
        raise DataError(f"{name}: the compressed data is truncated; copy or write it again")


def _buffered(chunks: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Stream(chunks), _BUFFER_BYTES)


class _Stream(io.RawIOBase):
    """A file of the bytes that an iterator yields."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._ready = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._ready = memoryview(chunk)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
