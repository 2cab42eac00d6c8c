"""The report of a run: Markdown that renders on GitHub, and one HTML file."""

from __future__ import annotations

import base64
import functools
import shlex
from urllib.parse import quote, unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlrun_assets.errors import RecordError, count
from mlrun_assets.records import RunRecords
from mlrun_assets.reports import data_section, formatting, scores, sentences, tables
from mlrun_assets.reports.formatting import (
    Markdown,
    clean,
    code,
    escape,
    fenced,
    markdown_environment,
    prose,
)
from mlrun_assets.reports.tables import bullets

# Alternative texts of the pictures, in the order of the report.
CAPTIONS = {
    "confusion": "Confusion matrix: true labels as rows, predicted labels as columns, test split",
    "per_class": "F1 of each label on the test split",
    "reliability": "Accuracy on the test split by the confidence of the model",
    "training": "Training and val loss and val macro-F1 by epoch",
    "labels": "Rows of each label in train, val and test",
    "lengths": "Tokens per text in train, val and test, and the limit of the model",
    "fit": "Tokens per word in the training texts of each label",
}


def render_report(
    records: RunRecords, pictures: dict[str, str], model_card: str | None = None
) -> str:
    """The report as Markdown.

    Args:
        records: the records of the run; stages without one are named as not reached.
        pictures: paths of the pictures relative to the report's directory, by the keys of
            `CAPTIONS`.
        model_card: the path of the model card, relative to the same directory; None if there is
            none.

    Raises:
        ValueError: a picture has another name.
    """
    images = sorted(pictures.items(), key=lambda item: list(CAPTIONS).index(item[0]))
    return _template().render(
        run=records,
        images=[image(CAPTIONS[name], link) for name, link in images],
        model_card=Markdown(quote(model_card)) if model_card else None,
    )


def image(caption: str, link: str) -> Markdown:
    """An image link; the path may have any characters."""
    return Markdown(f"![{escape(caption)}]({quote(link)})")


def shell_word(text: str) -> Markdown:
    """``text`` as one word of a shell command inside a fenced block."""
    return Markdown(shlex.quote(clean(text)))


@functools.cache
def _template() -> jinja2.Template:
    environment = markdown_environment()
    for module in (data_section, formatting, scores, sentences, tables):
        environment.globals[module.__name__.rpartition(".")[2]] = module
    environment.globals.update(
        bullets=bullets, code=code, count=count, fenced=fenced, prose=prose, shell_word=shell_word
    )
    return environment.get_template("report.md.j2")


def render_html(markdown: str, title: str, pictures: dict[str, bytes]) -> str:
    """The report as one HTML file, which loads nothing from elsewhere.

    Args:
        markdown: the report from `render_report`; HTML in it is shown as text.
        title: the title of the page.
        pictures: the content of each PNG file by the path in the report's link.

    Raises:
        RecordError: the report links to a picture that ``pictures`` lacks.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for block in tokens:
        for token in block.children or ():
            if token.type == "image":
                _embed(token, pictures)
    body = parser.renderer.render(tokens, parser.options, {})
    return _page().render(title=title, body=body)


def _embed(image: Token, pictures: dict[str, bytes]) -> None:
    path = unquote(str(image.attrs["src"]))
    if path not in pictures:
        raise RecordError(
            f"the report links to the picture {path}, which does not exist (existing pictures: "
            f"{', '.join(sorted(pictures)) or 'none'}); materialize deployment_report again to "
            "draw them"
        )
    content = base64.b64encode(pictures[path]).decode("ascii")
    image.attrs["src"] = f"data:image/png;base64,{content}"


@functools.cache
def _page() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlrun_assets.reports"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    return environment.get_template("report.html.j2")
