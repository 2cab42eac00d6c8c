"""The bytes of a data file: unpacked, of the format that its name says, and not more than it had.

How a file is packed is told by its first bytes, since a wrong ending is common; which format the
rows have is told by its name, since bytes can't tell CSV from TSV.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
PACKED = (".gz", ".zst")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_FOREIGN = {
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or export it as CSV",
    b"BZh": "packed with bzip2; pack it with gzip or zstd",
    b"\xfd7zXZ": "packed with xz; pack it with gzip or zstd",
    b"%PDF": "a PDF; export the rows as CSV or JSON Lines",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet; export it as CSV",
    b"SQLite format": "a SQLite database; export the rows as CSV or JSON Lines",
    _GZIP: "packed twice; unpack it once",
    _ZSTD: "packed twice; unpack it once",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}
_BUFFER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16


def format_of(name: str) -> str | None:
    """``jsonl``, ``csv``, ``tsv`` or ``parquet``; None: the name ends in nothing that is known."""
    path = PurePosixPath(name.lower())
    return FORMATS.get(path.with_suffix("").suffix if path.suffix in PACKED else path.suffix)


@contextmanager
def open_content(path: Path, name: str) -> Iterator[BinaryIO]:
    """The unpacked bytes of a file, as many as it has now.

    Raises:
        DataError: it holds something else than lines of UTF-8, or its packing is damaged.
        OSError: it can't be read.
    """
    with path.open("rb") as opened:
        bounded = _Bounded(opened, os.fstat(opened.fileno()).st_size)
        plain = _unpacked(io.BufferedReader(bounded, _BUFFER_BYTES), name)
        start = plain.peek(16)[:16]
        for mark, meaning in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{name}: {meaning}")
        if len(start) >= 4 and (start[0] == start[2] == 0 or start[1] == start[3] == 0):
            raise DataError(f"{name}: UTF-16; save it as UTF-8")
        yield plain


def _unpacked(file: io.BufferedReader, name: str) -> io.BufferedReader:
    start = file.peek(4)
    if start.startswith(_GZIP):
        # 31: the largest window, and gzip's own header and checksum.
        return io.BufferedReader(
            _Unpacking(file, name, lambda: zlib.decompressobj(31)), _BUFFER_BYTES
        )
    if start.startswith(_ZSTD):
        from zstandard import ZstdDecompressor

        return io.BufferedReader(
            _Unpacking(file, name, lambda: ZstdDecompressor().decompressobj()), _BUFFER_BYTES
        )
    return file


class _Bounded(io.RawIOBase):
    """The first bytes of a file: one that grows while it is read has an end all the same."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(min(len(buffer), self._left))
        self._left -= len(content)
        buffer[: len(content)] = content
        return len(content)


class _Unpacking(io.RawIOBase):
    """gzip or zstd, one member after another; packing that is cut off is an error, not the end.

    (The streaming reader of `zstandard` takes a frame that is cut off for a whole one.)
    """

    def __init__(self, file: BinaryIO, name: str, new_member: Callable[[], Any]) -> None:
        self._file, self._name, self._new_member = file, name, new_member
        self._member: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._unpack():
            pass
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _unpack(self) -> bool:
        """Unpack one chunk; False: the file is at its end."""
        from zstandard import ZstdError

        chunk = self._packed or self._file.read(_CHUNK_BYTES)
        self._packed = b""
        if not chunk:
            if self._member is not None:
                raise DataError(f"{self._name}: its packing is cut off; copy or write it again")
            return False
        self._member = self._member or self._new_member()
        try:
            self._ready = memoryview(self._member.decompress(chunk))
        except (zlib.error, ZstdError) as error:
            raise DataError(
                f"{self._name}: its packing is damaged ({error}); copy or write it again"
            ) from None
        if self._member.eof:
            # Tapes and some tools fill up with zero bytes behind the last member.
            self._packed = self._member.unused_data.lstrip(b"\0")
            self._member = None
        return True
