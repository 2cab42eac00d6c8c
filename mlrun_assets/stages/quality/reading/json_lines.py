"""JSON Lines to rows: one object a line, nothing coerced and no key twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, overload

import orjson

from mlrun_assets.stages.quality.reading.rows import Parsed, UnusableError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
# orjson writes fewer levels than it reads (254 and 1,024).
_LEVELS_LOOKED_AT = 200


@overload
def parse_json_lines(lines: Iterable[bytes], *, whole: bool = False) -> Iterator[Parsed]: ...
@overload
def parse_json_lines(
    lines: Iterable[bytes | None], *, whole: bool = False
) -> Iterator[Parsed | None]: ...
def parse_json_lines(
    lines: Iterable[bytes | None], *, whole: bool = False
) -> Iterator[Parsed | None]:
    """The rows of ``lines``; blank ones are none. ``whole`` rows can be written as they were read.

    A carriage return alone ends a line, as on old Macs, where the line can't be read otherwise.
    None is no line and is handed on: nothing more has come yet.
    """
    parse = _parse_whole if whole else _parse_object
    line = 0
    for content in lines:
        if content is None:
            yield None
            continue
        line += 1
        stripped = content.removeprefix(_BYTE_ORDER_MARK).strip()
        if not stripped:
            continue
        row = parse(stripped)
        if not isinstance(row, UnusableError) or b"\r" not in stripped:
            yield Parsed(line, stripped, row)
            continue
        for place, part in enumerate(stripped.split(b"\r")):
            line += place > 0
            if part.strip():
                yield Parsed(line, part.strip(), parse(part.strip()))


def _parse_object(content: bytes) -> dict[str, Any] | UnusableError:
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return UnusableError("not JSON", error.msg)
    if not isinstance(row, dict):
        return UnusableError(
            "not an object", f"a JSON {type(row).__name__}, not an object with keys"
        )
    # orjson keeps the last of two equal keys without a word; the slow parser is asked only where
    # there are more colons after quotes than keys.
    if len(_KEY_END.findall(content)) > len(row):
        return _without_repeated_keys(content, row)
    return row


def _parse_whole(content: bytes) -> dict[str, Any] | UnusableError:
    row = _parse_object(content)
    if content.count(b"[") + content.count(b"{") > _LEVELS_LOOKED_AT:
        try:
            orjson.dumps(row, default=str)
        except TypeError:
            return _nested_too_deeply()
    if isinstance(row, dict) and _LONG_INTEGER.search(content) and _loses_digits(content):
        said = "an integer of more than 64 bits, which would lose digits; put it in quotes"
        return UnusableError("number too large", said)
    return row


def _loses_digits(content: bytes) -> bool:
    """Whether there is an integer that orjson makes a float of."""
    lost: list[str] = []

    def note(digits: str) -> None:
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
            lost.append(digits)

    json.loads(content, parse_int=note)
    return bool(lost)


def _nested_too_deeply() -> UnusableError:
    return UnusableError("nested too deeply", "objects or lists within hundreds of others")


def _without_repeated_keys(content: bytes, row: dict[str, Any]) -> dict[str, Any] | UnusableError:
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            repeated.extend(key for key in keys if keys.count(key) > 1)

    try:
        # Numbers stay text: Python refuses to read one of thousands of digits.
        json.loads(content, object_pairs_hook=note, parse_int=str)
    except RecursionError:
        return _nested_too_deeply()
    if repeated:
        return UnusableError("duplicate key", f"the key `{repeated[0][:60]}` stands twice")
    return row
