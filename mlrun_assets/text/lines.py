"""Texts cut to fit a line."""

from __future__ import annotations


def one_line(text: str) -> str:
    """``text`` with every run of white space as one space."""
    return " ".join(text.split())


def shorten(text: str, limit: int) -> str:
    """``text`` as one line of at most ``limit`` characters, with an ellipsis where it is cut."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_words(text: str, count: int) -> str:
    """The first ``count`` words of ``text``, with single spaces."""
    return " ".join(text.split(maxsplit=count)[:count])
