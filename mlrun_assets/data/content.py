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
        bounded = _BoundedFile(opened, os.fstat(opened.fileno()).st_size)
        plain = _decompressed(io.BufferedReader(bounded, _BUFFER_BYTES), name)
        start = plain.peek(16)[:16]
        for mark, meaning in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{name}: {meaning}")
        if len(start) >= 4 and (start[0] == start[2] == 0 or start[1] == start[3] == 0):
            raise DataError(f"{name}: UTF-16; save it as UTF-8")
        yield plain


def _decompressed(file: io.BufferedReader, name: str) -> io.BufferedReader:
    start = file.peek(4)
    new_member: Callable[[], Any]
    if start.startswith(_GZIP):
        # 31: the largest window, and gzip's own header and checksum.
        new_member = partial(zlib.decompressobj, 31)
    elif start.startswith(_ZSTD):
        from zstandard import ZstdDecompressor

        new_member = ZstdDecompressor().decompressobj
    else:
        return file
    return io.BufferedReader(_DecompressedFile(file, name, new_member), _BUFFER_BYTES)


class _BoundedFile(io.RawIOBase):
    """The first ``size`` bytes of a file, so that reading ends even if the file grows."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(min(len(buffer), self._left))
        self._left -= len(content)
        buffer[: len(content)] = content
        return len(content)


class _DecompressedFile(io.RawIOBase):
    """The content of all gzip or zstd members; a truncated member is an error.

    The streaming reader of `zstandard` accepts a truncated frame, so it is not used.
    """

    def __init__(self, file: BinaryIO, name: str, new_member: Callable[[], Any]) -> None:
        self._file, self._name, self._new_member = file, name, new_member
        self._member: Any = None
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._decompress():
            pass
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompress(self) -> bool:
        """Decompress one chunk; False at the end of the file."""
        from zstandard import ZstdError

        chunk = self._compressed or self._file.read(_CHUNK_BYTES)
        self._compressed = b""
        if not chunk:
            if self._member is not None:
                raise DataError(
                    f"{self._name}: the compressed data is truncated; copy or write it again"
                )
            return False
        self._member = self._member or self._new_member()
        try:
            self._ready = memoryview(self._member.decompress(chunk))
        except (zlib.error, ZstdError) as error:
            raise DataError(
                f"{self._name}: its compressed data is damaged ({error}); write it again"
            ) from None
        if self._member.eof:
            # Some tools pad the file with zero bytes after the last member.
            self._compressed = self._member.unused_data.lstrip(b"\0")
            self._member = None
        return True
