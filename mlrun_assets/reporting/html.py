"""The report as one self-contained HTML file: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
import functools
from urllib.parse import unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlrun_assets.errors import RecordError


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
        loader=jinja2.PackageLoader("mlrun_assets.reporting"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    return environment.get_template("report.html.j2")
