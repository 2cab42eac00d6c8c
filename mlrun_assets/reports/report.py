"""The report of a run: Markdown that renders on GitHub, and one HTML file."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote, unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlrun_assets.errors import RecordError
from mlrun_assets.markdown import Markdown
from mlrun_assets.records import RunRecords
from mlrun_assets.reports.formatting import template
from mlrun_assets.reports.sentences import outcome, title
from mlrun_assets.reports.tables import FOLD_END, fold

# Captions of the pictures.
CAPTIONS = {
    "forest": "Scores on the test split. Lines: intervals. Dashed: the required minimum.",
    "confusion": "Confusion matrix: how many test rows of each label get which label.",
    "coverage": "Accuracy of the test rows with the highest confidence. Area: interval.",
    "training": "Fine-tuning by epoch; the last one is kept.",
    "labels": "Rows of each label by split.",
}
CONTENTS = "**Contents:** "
"""The start of the line that ends the first page."""
_FOLD = re.compile(r"<details>\n<summary><b>[^<>]*</b>[^<>]*</summary>\n*|</details>\n*")
_GLOSSARY_LINK = re.compile(r"\[([^\[\]]*)\]\(#glossary\)")
_PICTURE = re.compile(r"^!\[.*\n\*.*\*\n", re.MULTILINE)


def render_report(
    records: RunRecords, pictures: dict[str, str], model_card: str | None = None
) -> str:
    """The report as Markdown.

    Args:
        records: the records of the run; stages without one are named as not reached.
        pictures: paths of the pictures relative to the report's directory, by the keys of
            `CAPTIONS`.
        model_card: the path of the model card in the experiment; None if there is none.

    Raises:
        KeyError: a picture has another name.
    """
    images = dict.fromkeys(CAPTIONS, Markdown()) | {
        name: Markdown(f"![{name}]({quote(link)})\\\n*{CAPTIONS[name]}*")
        for name, link in pictures.items()
    }
    details = template("details.md.j2").render(
        run=records, images=images, card=model_card, fold=fold, end=FOLD_END
    )
    sections = re.findall(r"^<summary><b>(.*)</b>", details, re.MULTILINE)
    contents = " · ".join(f"[{name}](#{_anchor(name)})" for name in sections)
    page = template("report.md.j2").render(
        run=records,
        images=images,
        contents=Markdown(CONTENTS + contents),
        details=Markdown(details),
    )
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def first_page(markdown: str) -> str:
    """The first page of the report, without its picture and the links to the other pages."""
    page, _, _ = markdown.partition(CONTENTS)
    return _GLOSSARY_LINK.sub(r"\1", _PICTURE.sub("", page))


def render_html(markdown: str, records: RunRecords, pictures: dict[str, bytes]) -> str:
    """The report as one HTML file, which loads nothing from elsewhere.

    Args:
        markdown: the report from `render_report`. HTML in it is shown as text, but for folds.
        records: the records of the run, for the title and the colour.
        pictures: the content of each SVG file by the path in the report's link.

    Raises:
        RecordError: the report links to a picture that ``pictures`` lacks.
    """
    shown = outcome(records)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(markdown.replace(f"{shown.mark} ", "", 1))
    for place, token in enumerate(tokens):
        children = token.children or []
        for each in (token, *children):
            if each.type.startswith("html_") and not _FOLD.fullmatch(each.content):
                each.type = "text"
        if token.type == "heading_open" and token.tag == "h2":
            token.attrs["id"] = _anchor(tokens[place + 1].content)
        if children and children[0].type == "image":
            _as_figure(tokens[place - 1 : place + 2], pictures)
    body = parser.renderer.render(tokens, parser.options, {}).replace(" %", "\N{NO-BREAK SPACE}%")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlrun_assets.reports"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    page = environment.get_template("report.html.j2")
    return page.render(title=title(records), tone=shown.tone, body=body)


def _as_figure(paragraph: list[Token], pictures: dict[str, bytes]) -> None:
    """Make a paragraph of a picture and a line of emphasis a figure, the picture inline."""
    start, inline, end = paragraph
    start.tag = end.tag = "figure"
    children = inline.children or []
    path = unquote(str(children[0].attrs["src"]))
    if path not in pictures:
        raise RecordError(
            f"the report links to the picture {path}, which does not exist (existing pictures: "
            f"{', '.join(sorted(pictures)) or 'none'}); materialize deployment_report again to "
            "draw them"
        )
    content = base64.b64encode(pictures[path]).decode("ascii")
    children[0].attrs["src"] = f"data:image/svg+xml;base64,{content}"
    for token in children:
        if token.tag == "em":
            token.tag = "figcaption"
    inline.children = [token for token in children if token.type != "hardbreak"]
