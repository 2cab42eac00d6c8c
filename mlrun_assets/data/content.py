"""Data files opened: their format, and their bytes, decompressed and in UTF-8.

The first bytes of a file decide its compression and encoding, because wrong suffixes are common.
Its name decides the format of the rows, because the bytes of CSV and TSV look the same.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import string
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mlrun_assets.errors import DataError

Opener = Callable[[], AbstractContextManager[BinaryIO]]

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
COMPRESSED = (".gz", ".zst")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# First bytes of files that are not lines of text, and the advice for each.
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
}
_BUFFER_BYTES = 1 << 20
# Compressed bytes that are read at once. They expand to 16 MB at most: gzip to 1,032 times their
# size, and zstd to a block of 128 kB for each 4 bytes.
_CHUNK_BYTES = {_GZIP: 1 << 14, _ZSTD: 1 << 9}


def format_of(name: str) -> str | None:
    """``jsonl``, ``csv``, ``tsv`` or ``parquet``, by the suffix; None if it is unknown."""
    path = PurePosixPath(name.lower())
    return FORMATS.get(path.with_suffix("").suffix if path.suffix in COMPRESSED else path.suffix)


@contextmanager
def open_content(path: Path, name: str, max_mb: float) -> Iterator[io.BufferedReader]:
    """Open the decompressed bytes of a file in UTF-8, up to the size it has now.

    Raises:
        DataError: the file is of a foreign format, its compression is damaged, or it decompresses
            to more than ``max_mb``.
        OSError: the file can't be read.
    """
    with path.open("rb") as opened:
        file = _buffered(_bounded(opened, os.fstat(opened.fileno()).st_size))
        plain = _decompressed(file, name, max_mb)
        start = plain.peek(16)[:16]
        for mark, meaning in _FOREIGN.items():
            if start.startswith(mark):
                raise DataError(f"{name}: {meaning}")
        encoding = _encoding(start)
        yield _buffered(_in_utf8(plain, encoding, name)) if encoding else plain


def _encoding(start: bytes) -> str | None:
    """The encoding of a text that is not UTF-8, by its mark or by the zeros between its letters."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = "".join("0" if byte == 0 else "x" for byte in start[:4])
    names = {"x000": "utf-32-le", "000x": "utf-32-be", "x0x0": "utf-16-le", "0x0x": "utf-16-be"}
    return names.get(zeros)


def _in_utf8(file: BinaryIO, encoding: str, name: str) -> Iterator[bytes]:
    """``file`` in UTF-8. A lone surrogate stays one, so that only its row is quarantined."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        while content := file.read(_BUFFER_BYTES):
            yield decoder.decode(content).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        why = f"damaged {encoding.upper()} ({error.reason}); save it as UTF-8"
        raise DataError(f"{name}: {why}") from None


# What Excel calls CSV: Windows-1252 in Western languages

WINDOWS_1252 = "Windows-1252"


def _escaped(characters: str) -> str:
    """A character class of the bytes of Windows-1252, as ``surrogateescape`` decodes them."""
    return characters.encode("cp1252").decode("ascii", "surrogateescape")


# Without letters whose bytes are others in similar encodings, such as ð, þ and ý in Turkish.
_LOWER = _escaped("àáâãäåæçèéêëìíîïñòóôõöøùúûüšžœß")
_UPPER = _escaped("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŠŽŒ")
_ANYWHERE = _escaped("\u2018\u2019\u00b4\u2013\u2014…·\u00a0")  # quotes, dashes
_NOT_IN_WORDS = _escaped("“”«»•°§€£©®™ªº¿¡½")
_LETTER = f"[A-Za-z{_LOWER}{_UPPER}]"
# Three accented letters in a row are, almost certainly, letters of another alphabet.
_EXPECTED = re.compile(
    f"(?<![{_LOWER}{_UPPER}]{{2}})[{_LOWER}]|[{_ANYWHERE}]|(?<![a-z{_LOWER}])[{_UPPER}]"
    f"|(?<!{_LETTER})[{_NOT_IN_WORDS}]|[{_NOT_IN_WORDS}](?!{_LETTER})"
)
_BAD_BYTE, _WHOLE = re.compile("[\udc80-\udcff]"), re.compile("[^\0-\x7f\udc80-\udcff]")
_UNDEFINED = re.compile("[\udc81\udc8d\udc8f\udc90\udc9d]")
_ASCII_LETTERS = string.ascii_letters.encode()


def is_windows_1252(opened: Opener) -> bool:
    """Whether a text is not UTF-8 and, almost certainly, Windows-1252 or Latin-1.

    Nearly all bytes above 127 are then accented letters, a third of the letters at most, and
    punctuation that is not within words. Damaged UTF-8 has more characters that are whole than bad
    bytes. Other alphabets have few letters below 128.
    """
    with opened() as file:
        if _is_utf8(file):
            return False
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    whole = bad = expected = letters = 0
    with opened() as file:
        while content := file.read(_BUFFER_BYTES):
            letters += len(content) - len(content.translate(None, _ASCII_LETTERS))
            text = decoder.decode(content)
            if _UNDEFINED.search(text):
                return False
            whole += len(_WHOLE.findall(text))
            bad += len(_BAD_BYTE.findall(text))
            expected += len(_EXPECTED.findall(text))
    return expected >= 0.95 * bad > 9.5 * whole and letters >= 2 * bad


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while content := file.read(_BUFFER_BYTES):
            decoder.decode(content)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def from_windows_1252(opened: Opener) -> Iterator[BinaryIO]:
    """The bytes of a file in Windows-1252 as UTF-8."""
    with opened() as file:
        chunks = iter(partial(file.read, _BUFFER_BYTES), b"")
        yield _buffered(chunk.decode("cp1252", "replace").encode() for chunk in chunks)


def _bounded(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of a file, so that reading ends even if the file grows."""
    while content := file.read(min(_BUFFER_BYTES, size)):
        size -= len(content)
        yield content


def _decompressed(file: io.BufferedReader, name: str, max_mb: float) -> io.BufferedReader:
    start = file.peek(4)
    if start.startswith(_GZIP):
        # 31: the largest window, and gzip's own header and checksum.
        new_member: Callable[[], Any] = partial(zlib.decompressobj, 31)
    elif start.startswith(_ZSTD):
        from zstandard import ZstdDecompressor

        new_member = ZstdDecompressor().decompressobj
    else:
        return file
    chunks = iter(partial(file.read, _CHUNK_BYTES[_GZIP if start[:2] == _GZIP else _ZSTD]), b"")
    return _buffered(_limited(_members(chunks, name, new_member), name, max_mb))


def _limited(chunks: Iterator[bytes], name: str, max_mb: float) -> Iterator[bytes]:
    size = 0
    for content in chunks:
        size += len(content)
        if size > max_mb * 1e6:
            why = (
                f"it decompresses to more than {max_mb:,g} MB; split it, or raise data.max_file_mb"
            )
            raise DataError(f"{name}: {why}")
        yield content


def _members(chunks: Iterator[bytes], name: str, new_member: Callable[[], Any]) -> Iterator[bytes]:
    """The content of all gzip or zstd members; a truncated member is an error.

    The streaming reader of `zstandard` accepts a truncated frame, so it is not used.
    """
    from zstandard import ZstdError

    member, compressed = None, b""
    while compressed := compressed or next(chunks, b""):
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
