"""JSON Lines to rows: one object a line, nothing coerced and no key twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from mlrun_assets.stages.quality.reading.rows import Parsed, UnusableError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KEY_END = re.compile(rb'"[ \t\r\n]*:')


def parse_json_lines(file: BinaryIO) -> Iterator[Parsed]:
    """The rows of ``file``; blank lines are none.

    A carriage return alone ends a line, as on old Macs, where the line can't be read otherwise.
    """
    line = 0
    for content in file:
        line += 1
        stripped = content.removeprefix(_BYTE_ORDER_MARK).strip()
        if not stripped:
            continue
        row = _parse_object(stripped)
        if not isinstance(row, UnusableError) or b"\r" not in stripped:
            yield Parsed(line, stripped, row)
            continue
        for place, part in enumerate(stripped.split(b"\r")):
            line += place > 0
            if part.strip():
                yield Parsed(line, part.strip(), _parse_object(part.strip()))


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
        return UnusableError("nested too deeply", "objects or lists within hundreds of others")
    if repeated:
        return UnusableError("duplicate key", f"the key `{repeated[0][:60]}` stands twice")
    return row
