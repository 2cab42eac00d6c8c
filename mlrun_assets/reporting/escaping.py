r"""Any string as Markdown that shows it and does nothing else.

Labels, names, reasons and error messages come from people, files and libraries. Here they become
`Markdown`, the type that tables and templates pass on as it is; every other string they escape
themselves, so that nothing is escaped twice and nothing is forgotten.

The rules are those of CommonMark 0.31 (section 2.4) and of GitHub's tables, where a pipe ends a
cell even in a code span: a pipe therefore is written as ``&#124;``, never as ``\|``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import jinja2

# An underscore inside a word is no emphasis, and names such as min_accuracy stay readable.
_SPECIAL = re.compile(r"[\\`*\[\]~#$&<|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", "|": "&#124;"}
# What begins a list, a quotation, a rule or an underlined heading at the start of a line.
_BLOCK_START = re.compile(r"^(\d*)([-+](?![^\s+-])|[=>]|(?<=\d)[.)](?!\S))")
# A code span that no table and no parser reads otherwise.
_SPAN = re.compile(r"(?<!`)`([^`|\\ ](?:[^`|\\]*[^`|\\ ])?)`(?!`)")
# Embeddings, overrides and isolates of the bidirectional algorithm reorder what stands around them.
_BIDI_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp", "Zs"})


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def clean(text: str, limit: int | None = None) -> str:
    """``text`` on one line: control characters and runs of space become one space.

    Args:
        text: any string.
        limit: the most characters that are kept; a longer text ends with ``…``.
    """
    shown = "".join(
        " " if unicodedata.category(character) in _INVISIBLE else character
        for character in text
        if character not in _BIDI_CONTROLS
    )
    line = " ".join(shown.split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int | None = None) -> Markdown:
    """``text`` as one line of Markdown that renders as `clean` text; `Markdown` stays as it is."""
    if isinstance(text, Markdown):
        return text
    return _unblock(_escape_inline(clean(text, limit)))


def prose(text: str, limit: int | None = None) -> Markdown:
    """A sentence in which names and commands may stand in backticks: those become code spans."""
    if isinstance(text, Markdown):
        return text
    parts = _SPAN.split(clean(text, limit))
    spans = [f"`{part}`" if place % 2 else _escape_inline(part) for place, part in enumerate(parts)]
    return _unblock("".join(spans))


def _escape_inline(line: str) -> str:
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)


def _unblock(line: str) -> Markdown:
    return Markdown(_BLOCK_START.sub(r"\1\\\2", line))


def code(text: str) -> Markdown:
    """A name or digest as a code span; as escaped text where a span can't hold it in a table."""
    line = clean(text)
    if not line or any(character in line for character in "`|\\"):
        return escape(line)
    return Markdown(f"`{line}`")


def joined(items: Iterable[str], separator: str = ", ") -> Markdown:
    """The items, escaped where they are no Markdown yet, with ``separator`` between them."""
    return Markdown(separator.join(escape(item) for item in items))


def fenced(text: str, language: str = "") -> Markdown:
    """Several lines as a fenced block; the fence is longer than any run of backticks inside."""
    lines = ["".join(filter(_is_printed, line)) for line in text.splitlines()]
    runs = re.findall(r"`{3,}", text)
    fence = "`" * (1 + max((len(run) for run in runs), default=2))
    return Markdown("\n".join([f"{fence}{language}", *lines, fence]))


def _is_printed(character: str) -> bool:
    if character == "\t":
        return True
    return character not in _BIDI_CONTROLS and unicodedata.category(character) not in {"Cc", "Cs"}


def markdown_environment() -> jinja2.Environment:
    """Templates of this room, whose values are escaped for Markdown on their way out."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mlrun_assets.reporting"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Markdown: `finalize` escapes for that
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _finalize(value: object) -> str:
    return value if isinstance(value, Markdown) else escape(str(value))
