"""A corpus of files that go wrong, each with its outcome: rows kept and rows quarantined.

`REFUSED` means one `DataError` for the whole file. Two good rows surround what is wrong wherever
the format allows it, so that a row which takes its neighbours along is seen.
"""

from __future__ import annotations

import gzip
import io
import json
from typing import Any, NamedTuple

import polars as pl
import zstandard

REFUSED = None
FIRST, LAST = {"text": "Waa kow", "label": "x"}, {"text": "Waa laba", "label": "y"}


class Nasty(NamedTuple):
    """``outcome``: rows kept and rows quarantined, or `REFUSED`; ``reason``: of line 2."""

    name: str
    content: bytes
    outcome: tuple[int, int] | None
    reason: str | None = None


def dumped(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", errors="surrogatepass")


def between(line: bytes, end: bytes = b"\n") -> bytes:
    return end.join([dumped(FIRST), line, dumped(LAST), b""])


def row(**changes: object) -> bytes:
    return dumped({**FIRST, **changes})


GOOD_JSON = between(row())
_NUMBER = b"9" * 5000

# One line between two good rows: quarantined, by the reason.
_BAD_LINES: dict[str, dict[str, bytes]] = {
    "not JSON": {
        "open brace": b"{",
        "cut object": b'{"text": "waa", "label": ',
        "trailing comma": b'{"text": "a", "label": "x",}',
        "two objects": row() + row(),
        "NaN label": b'{"text": "a", "label": NaN}',
        "Infinity elsewhere": b'{"text": "a", "label": "x", "n": Infinity}',
        "leading zero": b'{"text": "a", "label": 01}',
        "bare NUL": b'{"text": "a\x00b", "label": "x"}',
        "NULs only": b"\x00" * 40,
        "bare tab": b'{"text": "a\tb", "label": "x"}',
        "bad escape": b'{"text": "\\x41", "label": "x"}',
        "lone surrogate": b'{"text": "\\udc00", "label": "x"}',
        "surrogate in a key": b'{"\\ud800": 1, "text": "a", "label": "x"}',
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "deep value": b'{"text": "a", "label": "x", "d": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        "huge number as label": b'{"text": "a", "label": ' + _NUMBER + b"}",
        "huge number elsewhere": b'{"text": "a", "label": "x", "m": {"n": ' + _NUMBER + b"}}",
    },
    "not UTF-8": {
        "surrogate as bytes": b'{"text": "\xed\xa0\x80", "label": "x"}',
        "Latin-1": '{"text": "café", "label": "x"}'.encode("latin-1"),
        "byte FF": b'{"text": "\xff", "label": "x"}',
    },
    "nested too deeply": {
        "deep and repeated": b'{"text": "a", "label": "x", "d": {"e": '
        + b'{"a":' * 980 + b"1" + b"}" * 981 + b"}",
    },
    "not an object": {
        "number": b"3",
        "null": b"null",
        "list of objects": b"[" + row() + b"]",
    },
    "duplicate key": {
        "repeated key": b'{"text": "a", "text": "b", "label": "x"}',
        "repeated, same value": b'{"text": "a", "text": "a", "label": "x"}',
        "repeated, escaped": b'{"text": "a", "te\\u0078t": "b", "label": "x"}',
        "repeated, tab before colon": b'{"text"\t: "a", "text"\t: "b", "label"\t: "x"}',
        "repeated in depth": b'{"text": "a", "label": "x", "m": {"k": 1, "k": 2}}',
    },
    "missing column": {
        "empty object": b"{}",
        "no label": b'{"text": "a"}',
        "other case": b'{"Text": "a", "Label": "x"}',
    },
    "missing text": {"null text": row(text=None)},
    "text of a wrong type": {"number as text": row(text=3), "list as text": row(text=["a"])},
    "empty text": {"empty text": row(text=""), "blank text": row(text=" \t\n\u00a0\u2003")},
    "missing label": {"null label": row(label=None), "blank label": row(label=" \n")},
    "label of a wrong type": {
        "true as label": row(label=True),
        "round float as label": row(label=1.0),
        "object as label": row(label={"x": 1}),
    },
    "unknown label": {
        "label in other case": row(label="X"),
        "label with a space": row(label="x "),
        "label with a full-width letter": row(label="\uff58"),
        "label with a zero-width space": row(label="x\u200b"),
        "huge digits as label": row(label=_NUMBER.decode()),
        "integer label": row(label=7),
        "minus minus label": row(label="--1"),
    },
    "id seen before": {"id seen before": row(id="train-1")},
}  # fmt: skip
# One line between two good rows: kept.
_ODD_LINES: dict[str, bytes] = {
    "NUL escape": row(text="a\x00b"),
    "control escapes": row(text="a\x01\x1f\x7fb"),
    "emoji": row(text="😀 \U0010ffff waa \ufffe\uffff \u202eabc\u2066"),
    "thousand marks": row(text="a" + "\u0301" * 1000),
    "nested other key": row(meta={"text": "other", "label": ["y"]}),
    "colons in text": row(text='waa "x": "y", "text": 3'),
    "huge exponent": b'{"text": "a", "label": "x", "n": 1e99}',
    "number as id": row(id=3),
    "empty id": row(id=""),
    "null id": row(id=None),
    "list as id": row(id=[1]),
    "key of every sort": row(**{"": 1, "a.b": 2, "$": 3, "`": 4, "\n": 5}),
    "many keys": row(**{f"k{number}": number for number in range(5000)}),
    "spaces around": b" \t " + row() + b" \r",
    "long text": row(text="waa " * 50_000),
    "one long word": row(text="w" * 300_000),
}
_FILES_OF_LINES = [
    *(
        Nasty(name, between(line), (2, 1), reason)
        for reason, lines in _BAD_LINES.items()
        for name, line in lines.items()
    ),
    *(Nasty(name, between(line), (3, 0)) for name, line in _ODD_LINES.items()),
]
_PRETTY = json.dumps([FIRST, {"a": '[{]},\\"\u00e9'}, LAST], indent=1).encode()
_WHOLE_JSON = [
    Nasty("empty", b"", (0, 0)),
    Nasty("only blank lines", b"\n \n\t\n\r\n\x0b\n" * 50, (0, 0)),
    Nasty("only a byte order mark", b"\xef\xbb\xbf", (0, 0)),
    Nasty("byte order mark", b"\xef\xbb\xbf" + GOOD_JSON, (3, 0)),
    Nasty("byte order mark in the middle", between(b"\xef\xbb\xbf" + row()), (3, 0)),
    Nasty("two byte order marks", b"\xef\xbb\xbf" * 2 + GOOD_JSON, (2, 1)),
    Nasty("no newline at the end", GOOD_JSON.rstrip(), (3, 0)),
    Nasty("CRLF", between(row(), b"\r\n"), (3, 0)),
    Nasty("carriage returns only", between(row(), b"\r"), (3, 0)),
    Nasty("carriage returns, one bad", between(b"{", b"\r"), (2, 1)),
    Nasty("mixed line ends", dumped(FIRST) + b"\r" + row() + b"\r\n" + dumped(LAST), (3, 0)),
    Nasty("line separators", GOOD_JSON.replace(b"\n", "\u2028".encode()), (0, 1)),
    Nasty("UTF-16 with a mark", GOOD_JSON.decode().encode("utf-16"), (3, 0)),
    Nasty("UTF-16 big-endian", b"\xfe\xff" + GOOD_JSON.decode().encode("utf-16-be"), (3, 0)),
    Nasty("UTF-16 big without a mark", GOOD_JSON.decode().encode("utf-16-be"), (3, 0)),
    Nasty("UTF-32", GOOD_JSON.decode().encode("utf-32"), (3, 0)),
    Nasty("UTF-16, cut in a letter", GOOD_JSON.decode().encode("utf-16")[:-1], REFUSED),
    Nasty("UTF-16 with a lone surrogate",
          between(row(text="a\ud800")).decode("utf-8", "surrogatepass")
          .encode("utf-16", "surrogatepass"), (2, 1), "not UTF-8"),
    Nasty("pretty-printed", json.dumps(FIRST, indent=2).encode(), (0, 4)),
    Nasty("one array", b"[" + row() + b"," + row() + b"]", (2, 0)),
    Nasty("pretty-printed array", _PRETTY.replace(b"\n", b"\r\n"), (2, 1), "missing column"),
    Nasty("array with a bad row", b"[" + row() + b",\r\n{'text':\r\n3},\r\n" + row() + b"]", (2, 1),
          "not JSON"),
    Nasty("array of arrays", b"[[" + row() + b"]," + row() + b"]", (1, 1)),
    Nasty("empty array", b"\xef\xbb\xbf[ ]\n", (0, 0)),
    Nasty("two arrays", b"[" + row() + b"]\n[" + row() + b",]\n", (2, 0)),
    Nasty("array without its end", b"[" + row() + b"," + row(), REFUSED),
    Nasty("array with an open string", b'[{"text": "a"b", "label": "x"},' + row() + b"]", REFUSED),
    Nasty("array in UTF-16", ("[" + GOOD_JSON.decode().strip().replace("\n", ",") + "]")
          .encode("utf-16-le"), (3, 0)),
    Nasty("a zip archive", b"PK\x03\x04" + b"\0" * 60, REFUSED),
    Nasty("a PDF", b"%PDF-1.7\n" + b"\0" * 60, REFUSED),
    Nasty("a spreadsheet", b"\xd0\xcf\x11\xe0" + b"\0" * 60, REFUSED),
    Nasty("a database", b"SQLite format 3\0" + b"\0" * 60, REFUSED),
    Nasty("bzip2", b"BZh91AY" + b"\1" * 60, REFUSED),
    Nasty("xz", b"\xfd7zXZ\0" + b"\1" * 60, REFUSED),
    Nasty("a web page", b"<!DOCTYPE html>\n<html>\n<body>404</body>\n</html>\n", (0, 4)),
    Nasty("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(1, 200)), (0, 4)),
    Nasty("a thousand repeats of one id", row(id="a") + b"\n" + b"\n".join([row(id="a")] * 999),
          (1, 999)),
]  # fmt: skip


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


_LONG = GOOD_JSON * 5000
_GZIP, _ZSTD = gzip.compress(_LONG, mtime=0), zstd(_LONG)
_ALL = (15_000, 0)


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


PACKED = [
    *(
        Nasty(f"{kind} {name}", content, outcome)
        for kind, packed in (("gzip", _GZIP), ("zstd", _ZSTD))
        for name, content, outcome in (
            ("whole", packed, _ALL),
            ("two members", packed + packed, (30_000, 0)),
            ("cut in its header", packed[:6], REFUSED),
            ("cut by half", packed[: len(packed) // 2], REFUSED),
            ("cut by one byte", packed[:-1], REFUSED),
            ("second member cut", packed + packed[:-3], REFUSED),
            ("rubbish behind", packed + b"rubbish", REFUSED),
            ("header only", packed[:4], REFUSED),
        )
    ),
    Nasty("gzip with zero bytes behind", _GZIP + b"\0" * 512, _ALL),
    Nasty("gzip with a wrong checksum", _flipped(_GZIP, len(_GZIP) - 6), REFUSED),
    Nasty("gzip with a wrong byte", _flipped(_GZIP, len(_GZIP) // 2), REFUSED),
    Nasty("zstd with a wrong byte", _flipped(_ZSTD, 4), REFUSED),
    Nasty("gzip of nothing", gzip.compress(b""), (0, 0)),
    Nasty("zstd of nothing", zstd(b""), (0, 0)),
    Nasty("gzip in gzip", gzip.compress(_GZIP), REFUSED),
    Nasty("gzip in zstd", zstd(_GZIP), REFUSED),
    Nasty("gzip of UTF-16", gzip.compress(GOOD_JSON.decode().encode("utf-16")), (3, 0)),
    Nasty("gzip of a bad line", gzip.compress(between(b"{")), (2, 1)),
]

_HEAD = b"text,label\n"


def table(*lines: bytes) -> bytes:
    return _HEAD + b"".join(line + b"\n" for line in (b"Waa kow,x", *lines, b"Waa laba,y"))


TABLES = [
    Nasty("good", table(b"Waa,x"), (3, 0)),
    Nasty("empty", b"", (0, 0)),
    Nasty("only blank lines", b"\n\n \n\r\n", (0, 0)),
    Nasty("header only", _HEAD, (0, 0)),
    Nasty("blank lines above the header", b"\n\n" + table(b"Waa,x"), (3, 0)),
    Nasty("byte order mark", b"\xef\xbb\xbf" + table(), (2, 0)),
    Nasty("byte order mark and quotes", b'\xef\xbb\xbf"text","label"\nWaa,x\n', (1, 0)),
    Nasty("CRLF", table(b"Waa,x").replace(b"\n", b"\r\n"), (3, 0)),
    Nasty("carriage returns only", table(b"Waa,x").replace(b"\n", b"\r"), (3, 0)),
    Nasty("UTF-16", table().decode().encode("utf-16"), (2, 0)),
    Nasty(
        "semicolons",
        table(b"Haa, waa;x")
        .replace(b"ow,", b"ow;")
        .replace(b"ba,", b"ba;")
        .replace(b"text,", b"text;"),
        (3, 0),
    ),
    Nasty("header again", table(b"text,label"), (2, 1), "repeated header"),
    Nasty("no heading for the label", b"text,topic\nWaa,x\n", REFUSED),
    Nasty("headings with spaces", b"text, label\nWaa,x\n", REFUSED),
    Nasty("heading twice", b"text,label,text\na,x,b\n", REFUSED),
    Nasty("empty headings twice", b"text,label,,\na,x,1,2\n", (1, 0)),
    Nasty("headings not UTF-8", b"text,label,\xff\na,x,b\n", REFUSED),
    Nasty("heading with an open quote", b'"text,label\nWaa,x\n', REFUSED),
    Nasty("heading with NUL", b"text,label,\x00\na,x,b\n", (1, 0)),
    Nasty("JSON in CSV", GOOD_JSON, REFUSED),
    Nasty("too few values", table(b"Waa"), (2, 1), "wrong number of columns"),
    Nasty("too many values", table(b"Waa,x,z"), (2, 1)),
    Nasty("quoted comma", table(b'"Haa, waa",x'), (3, 0)),
    Nasty("quoted lines", table(b'"Haa\nwaa\n\nwaa",x'), (3, 0)),
    Nasty("quote inside a value", table(b'Haa "waa",x'), (3, 0)),
    Nasty("text behind a quote", table(b'"Haa" waa,x', b'"Haa, waa",x'), (3, 1)),
    Nasty("backslash before a quote", table(b'"Haa \\" waa",x'), (3, 0)),
    Nasty("unclosed quote, no other", table(b'"Haa,x', b"Waa,x", b"Waa,y"), (5, 0)),
    # The open quote takes the rest of the file: each of its lines is quarantined.
    Nasty("unclosed quote", table(*[b'"Waa, waa",y'] * 9, b'"Haa,x', b"Waa,x"), (10, 3)),
    Nasty("unclosed quote on the last line", table(b'"Haa, waa",y') + b'"Haa,x', (3, 1)),
    Nasty(
        "quote closed lines below",
        table(*[b'"Waa, waa",y'] * 9, b'"Haa,x', b"Waa,x", b'Waa "x",y'),
        (11, 3),
    ),
    Nasty(
        "quote that joins rows",
        table(*[b'"Waa, waa",y'] * 9, b'"Haa,x', b"Waa,x", b'Waa",y'),
        (11, 3),
    ),
    Nasty("only an open quote", _HEAD + b'"', (0, 1)),
    Nasty("open quote and blank lines", _HEAD + b'"\n\n\n', (0, 1)),
    Nasty("NUL in a value", table(b"a\x00b,x"), (3, 0)),
    Nasty("NULs only", table(b"\x00\x00"), (2, 1)),
    Nasty("byte FF", table(b"\xff,x"), (2, 1), "not UTF-8"),
    Nasty("label not UTF-8", table(b"Waa,\xff"), (2, 1)),
    Nasty("empty text", table(b",x"), (2, 1)),
    Nasty("blank label", table(b"Waa, "), (2, 1)),
    Nasty("commas only", table(b","), (2, 1)),
    Nasty("huge quoted field", table(b'"' + b"waa\n" * 100_000 + b'",x'), (3, 0)),
    Nasty("many values", table(b"a," * 50_000), (2, 1)),
    Nasty("blank lines between", table(b"", b"   ", b"Waa,x"), (3, 0)),
    Nasty("gzip by its bytes", gzip.compress(table(b"Waa,x")), (3, 0)),
]


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_parquet(buffer, **options)
    return buffer.getvalue()


_TEXTS, _LABELS = ["Waa kow", "Waa laba", "Waa saddex"], ["x", "y", "x"]
_PARQUET = parquet({"text": _TEXTS, "label": _LABELS})
_MANY = parquet({"text": [f"Waa {n}" for n in range(9000)], "label": _LABELS * 3000})


def _columns(text: list[Any] | pl.Series = _TEXTS, **changes: Any) -> dict[str, Any]:
    return {"text": text, "label": _LABELS, **changes}


PARQUET = [
    Nasty("good", _PARQUET, (3, 0)),
    Nasty("empty", b"", REFUSED),
    Nasty("no rows", parquet({"text": pl.Series([], dtype=pl.String), "label": []}), (0, 0)),
    Nasty("no columns", parquet({}), REFUSED),
    Nasty("no label", parquet({"text": _TEXTS}), REFUSED),
    Nasty("magic twice", b"PAR1PAR1", REFUSED),
    Nasty("not Parquet", GOOD_JSON, REFUSED),
    *(
        Nasty(f"cut at {share:.0%}", _MANY[: int(share * len(_MANY))], REFUSED)
        for share in (0.01, 0.1, 0.5, 0.9, 0.99)
    ),
    Nasty("cut in the middle", _MANY[: len(_MANY) // 3] + _MANY[len(_MANY) // 2 :], REFUSED),
    Nasty("zeros in the middle", _MANY[:1000] + b"\0" * 4000 + _MANY[5000:], REFUSED),
    Nasty("wrong footer", _PARQUET[:-108] + b"\xff" * 100 + _PARQUET[-8:], REFUSED),
    Nasty("wrong length of the footer", _flipped(_PARQUET, len(_PARQUET) - 6), REFUSED),
    Nasty("null text", parquet(_columns(["Waa", None, "Waa laba"])), (2, 1), "missing text"),
    Nasty("list as text", parquet(_columns([["a"], ["b"], []])), (0, 3)),
    Nasty("bytes as text", parquet(_columns([b"a", b"\xff", b""])), (0, 3)),
    Nasty("categories", parquet(_columns(pl.Series(_TEXTS, dtype=pl.Categorical))), (3, 0)),
    Nasty("list as label", parquet(_columns(label=[["x"], [], None])), (0, 3)),
    Nasty("float label", parquet(_columns(label=[1.0, float("nan"), None])), (0, 3)),
    Nasty("integer label", parquet(_columns(label=[1, 2, 3])), (0, 3)),
    Nasty("other columns of every type", parquet(_columns(
        lists=[[1], [], None], structs=[{"a": [b"x"]}] * 3, empty=[None] * 3)), (3, 0)),
    *(
        Nasty(f"packed with {codec}", parquet(_columns(), compression=codec), (3, 0))
        for codec in ("uncompressed", "snappy", "gzip", "brotli", "zstd")
    ),
]  # fmt: skip

CORPUS = [
    *((".jsonl", nasty) for nasty in (*_FILES_OF_LINES, *_WHOLE_JSON)),
    *((ending, nasty) for ending in (".jsonl.gz", ".jsonl") for nasty in PACKED),
    *((".csv", nasty) for nasty in TABLES),
    *((".parquet", nasty) for nasty in PARQUET),
]
