"""The report of a run: Markdown that renders on GitHub, and one HTML file."""

from __future__ import annotations

import base64
from urllib.parse import quote, unquote

import jinja2
from markdown_it import MarkdownIt

from mlrun_assets.errors import RecordError
from mlrun_assets.markdown import Markdown, escape
from mlrun_assets.records import RunRecords
from mlrun_assets.reports.formatting import template

# Alternative texts of the pictures, in the order of the report.
CAPTIONS = {
    "confusion": "Confusion matrix: true labels as rows, predicted labels as columns, test split",
    "per_class": "F1 of each label on the test split",
    "reliability": "Accuracy on the test split by confidence, and of the most confident rows",
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
    return template("report.md.j2").render(
        run=records,
        images=[Markdown(f"![{escape(CAPTIONS[name])}]({quote(link)})") for name, link in images],
        card=Markdown(quote(model_card)) if model_card else None,
    )


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
    inline = [token for block in tokens for token in block.children or ()]
    for image in (token for token in inline if token.type == "image"):
        path = unquote(str(image.attrs["src"]))
        if path not in pictures:
            raise RecordError(
                f"the report links to the picture {path}, which does not exist (existing pictures: "
                f"{', '.join(sorted(pictures)) or 'none'}); materialize deployment_report again to "
                "draw them"
            )
        content = base64.b64encode(pictures[path]).decode("ascii")
        image.attrs["src"] = f"data:image/png;base64,{content}"
    body = parser.renderer.render(tokens, parser.options, {})
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlrun_assets.reports"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
    )
    return environment.get_template("report.html.j2").render(title=title, body=body)
