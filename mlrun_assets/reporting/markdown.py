"""The report of a run as Markdown that renders on GitHub."""

from __future__ import annotations

import functools
import shlex
from urllib.parse import quote

import jinja2

from mlrun_assets.records import RunRecords
from mlrun_assets.reporting import (
    data_tables,
    endings,
    evaluation_sentences,
    export_tables,
    formats,
    run_tables,
    score_tables,
    seed_tables,
    sentences,
)
from mlrun_assets.reporting.escaping import (
    Markdown,
    clean,
    code,
    escape,
    fenced,
    markdown_environment,
    prose,
)
from mlrun_assets.reporting.tables import bullets

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
    rooms = (
        data_tables,
        endings,
        evaluation_sentences,
        export_tables,
        formats,
        run_tables,
        score_tables,
        seed_tables,
        sentences,
    )
    for room in rooms:
        environment.globals[room.__name__.rpartition(".")[2]] = room
    environment.globals.update(bullets=bullets, code=code, fenced=fenced, prose=prose)
    environment.globals["shell_word"] = shell_word
    return environment.get_template("report.md.j2")
