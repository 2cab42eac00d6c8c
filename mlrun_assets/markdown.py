"""Text from data, made safe: in Markdown, on one line, on a terminal.

All Markdown of this package is escaped here, and all lines that it prints are cleaned here.
"""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Iterable

# An underscore inside a word is no emphasis, and names such as min_accuracy stay readable. An arrow
# would close a comment around the line.
_SPECIAL = re.compile(r"[\\`*\[\]~#$&<|]|(?<![^\W_])_|_(?![^\W_])|(?<=--)>")
_ENTITIES = {"&": "&amp;", "<": "&lt;", "|": "&#124;"}
# A line that starts like this would be a list, a quotation, a rule or a heading.
_BLOCK_START = re.compile(r"^(\d*)([-+](?![^\s+-])|[=>]|(?<=\d)[.)](?!\S))")
# A code span that every parser, also inside a table, reads as one.
_SPAN = re.compile(r"(?<!`)`(?![^`]*-->)([^`|\\ ](?:[^`|\\]*[^`|\\ ])?)`(?!`)")
# Escaped punctuation, a code span, an entity.
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])|(`[^`|\\ ](?:[^`|\\]*[^`|\\ ])?`(?!`))|&#?\w{1,31};")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Format characters without a shape: some reorder the text around them, others hide in a word.
# Those that join letters (U+200C, U+200D) stay.
_INVISIBLE = re.compile(
    r"[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class Markdown(str):
    """Text that is Markdown already and must not be escaped again."""

    __slots__ = ()


def visible(text: str) -> str:
    """``text``, of one or several lines, without control and invisible format characters."""
    return text if text.isprintable() else _INVISIBLE.sub("", _CONTROL.sub(" ", text))


def visible_json(line: bytes) -> bytes:
    """A line of JSON with the same content that is `visible`: those characters are escaped."""

    def escaped(found: re.Match[str]) -> str:
        return json.dumps(found[0])[1:-1]

    return _INVISIBLE.sub(escaped, _CONTROL.sub(escaped, line.decode("utf-8"))).encode("utf-8")


def clean(text: str, limit: int | None = None) -> str:
    """`visible` text on one line: runs of space become one space.

    Args:
        text: any string.
        limit: the most characters that are kept; a longer text ends with ``…``.
    """
    line = " ".join(visible(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int | None = None) -> Markdown:
    """One line of Markdown that renders as `clean` text; `Markdown` is returned unchanged."""
    if isinstance(text, Markdown):
        return text
    return _unblock(_escape_inline(clean(text, limit)))


def prose(text: str, limit: int | None = None) -> Markdown:
    """A sentence as Markdown; names and commands in backticks become code spans."""
    if isinstance(text, Markdown):
        return text
    parts = _SPAN.split(clean(text, limit))
    spans = [f"`{part}`" if place % 2 else _escape_inline(part) for place, part in enumerate(parts)]
    return _unblock("".join(spans))


def _escape_inline(line: str) -> str:
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)


def _unblock(line: str) -> Markdown:
    return Markdown(_BLOCK_START.sub(r"\1\\\2", line))


def plain(markdown: str) -> str:
    """The `clean` text of a line from `escape` or `prose`; emphasis of people is kept as it is."""
    return clean(
        _ESCAPED.sub(lambda found: found[1] or found[2] or html.unescape(found[0]), markdown)
    )


def code(text: str) -> Markdown:
    """A name or digest as a code span, or as escaped text if a table could not hold the span."""
    line = clean(text)
    if not line or any(character in line for character in "`|\\"):
        return escape(line)
    return Markdown(f"`{line}`")


def joined(items: Iterable[str], separator: str = ", ") -> Markdown:
    """The items, escaped unless they are `Markdown`, with ``separator`` between them."""
    return Markdown(separator.join(escape(item) for item in items))


def fenced(text: str, language: str = "") -> Markdown:
    """Several lines as a fenced block; the fence is longer than any backticks inside."""
    fence = "`" + max(re.findall(r"`{3,}", text), key=len, default="``")
    return Markdown("\n".join([f"{fence}{language}", *map(visible, text.splitlines()), fence]))


def shell_word(text: str) -> Markdown:
    """``text`` as one word of a shell command inside a fenced block."""
    return Markdown(shlex.quote(clean(text)))
