"""The report of a run as Markdown that renders on GitHub."""

from __future__ import annotations

import base64
import functools
import shlex
from urllib.parse import quote, unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlrun_assets.errors import RecordError
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

# What each picture shows, for people who do not see it, in the order of the report.
CAPTIONS = {
    "confusion": "Confusion matrix: true labels as rows, predicted labels as columns, test split",
    "per_class": "F1 of each label on the test split",
    "reliability": "Share of test rows that are right, by the confidence that the model states",
    "training": "Training and val loss and val macro-F1 by epoch",
    "labels": "Rows of each label in train, val and test",
    "lengths": "Tokens of a text in train, val and test, beside the model's limit",
    "fit": "Tokens of a word in the training texts of each label",
}


def render_report(
    records: RunRecords, pictures: dict[str, str], model_card: str | None = None
) -> str:
    """The report.

    Args:
        records: what is known about the run; a stage that left no record is named as not reached.
        pictures: the pictures' names (the keys of `CAPTIONS`), each with its path relative to the
            directory where the report will lie.
        model_card: the path of the model card, relative to that directory; None: there is none.

    Raises:
        KeyError: a picture of another name.
    """
    images = sorted(pictures.items(), key=lambda item: list(CAPTIONS).index(item[0]))
    return _template().render(
        run=records,
        images=[image(CAPTIONS[name], link) for name, link in images],
        model_card=Markdown(quote(model_card)) if model_card else None,
    )


def image(caption: str, link: str) -> Markdown:
    """A picture by its relative path, whatever characters that path has."""
    return Markdown(f"![{escape(caption)}]({quote(link)})")


def shell_word(text: str) -> Markdown:
    """``text`` as one word of a shell command inside a fenced block."""
    return Markdown(shlex.quote(clean(text)))


@functools.cache
def _template() -> jinja2.Template:
    environment = markdown_environment()
    rooms = (data_section, formatting, scores, sentences, tables)
    for room in rooms:
        environment.globals[room.__name__.rpartition(".")[2]] = room
    environment.globals.update(bullets=bullets, code=code, fenced=fenced, prose=prose)
    environment.globals["shell_word"] = shell_word
    return environment.get_template("report.md.j2")


def render_html(markdown: str, title: str, pictures: dict[str, bytes]) -> str:
    """The same report for a browser, on a phone and in the dark too.

    Args:
        markdown: the report, as `render_report` gives it; HTML in it is shown as text.
        title: the page's title.
        pictures: each picture's PNG under the relative path by which the report links it.

    Raises:
        RecordError: the report links a picture that is not among ``pictures``.
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
            f"the report shows the picture {path}, which is not there (there are: "
            f"{', '.join(sorted(pictures)) or 'none'}); materialize deployment_report again, so "
            "that its pictures are drawn"
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
