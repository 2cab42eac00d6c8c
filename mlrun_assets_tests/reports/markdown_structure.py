"""What Markdown a text really is, as a CommonMark parser that lets HTML through sees it."""

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(markdown: str) -> list[Token]:
    """All tokens, those inside lines included."""
    found = []
    for block in PARSER.parse(markdown):
        found.append(block)
        found += block.children or []
    return found


def kinds(markdown: str) -> list[str]:
    return [token.type for token in tokens(markdown)]


def tables(markdown: str) -> list[list[str]]:
    """The source lines of each table."""
    lines = markdown.splitlines()
    return [
        lines[token.map[0] : token.map[1]]
        for token in PARSER.parse(markdown)
        if token.type == "table_open" and token.map
    ]


def uneven_rows(markdown: str) -> list[str]:
    """Rows with more or fewer cells than their header.

    Counted in the source, where every pipe ends a cell: the parser would pad and cut.
    """
    return [
        row for rows in tables(markdown) for row in rows if row.count("|") != rows[0].count("|")
    ]


def images(markdown: str) -> list[str]:
    return [str(token.attrs["src"]) for token in tokens(markdown) if token.type == "image"]
