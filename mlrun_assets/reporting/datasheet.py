"""A datasheet of a validated dataset: where it comes from, what is in it, what is wrong with it.

The form follows Gebru and others, Datasheets for Datasets (https://arxiv.org/abs/1803.09010), as
far as records can answer; what only a person can answer is left open, in so many words.
"""

from __future__ import annotations

import functools
import math

import jinja2

from mlrun_assets.config import DataConfig
from mlrun_assets.records import DatasetRecord, SourceFile
from mlrun_assets.reporting import data_tables, formats, sentences
from mlrun_assets.reporting.escaping import Markdown, code, markdown_environment
from mlrun_assets.reporting.formats import count, digest, megabytes, number, percent
from mlrun_assets.reporting.tables import table


def render_datasheet(dataset: DatasetRecord, data: DataConfig) -> str:
    """The datasheet as Markdown; ``data`` has what the config states of the data."""
    return _template().render(dataset=dataset, data=data)


def sources_table(dataset: DatasetRecord) -> Markdown:
    """Each file that was read, with its digest."""
    return table(
        ["split", "file", "SHA-256", ">size", ">rows"],
        (
            [split, code(file.name), digest(file.digest), megabytes(file.size_bytes),
             count(file.rows_read)]
            for split, files in _files(dataset).items()
            for file in files
        ),
    )  # fmt: skip


def _files(dataset: DatasetRecord) -> dict[str, tuple[SourceFile, ...]]:
    files = {split: profile.files for split, profile in dataset.splits.items()}
    return files | ({"no label": dataset.unlabelled.files} if dataset.unlabelled else {})


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows read, kept and put aside by split."""
    return table(
        ["split", "rows read = kept + quarantined"],
        ([split, data_tables.rows_sentence(profile)] for split, profile in dataset.splits.items()),
    )


def labels_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, with their share of the split."""
    header = ["label", *(f">{split}" for split in dataset.splits)]
    return table(
        header,
        (
            [label, *(_share(profile.label_rows.get(label, 0), profile.rows_kept)
                      for profile in dataset.splits.values())]
            for label in dataset.labels
        ),
    )  # fmt: skip


def lengths_table(dataset: DatasetRecord) -> Markdown:
    """Words and tokens of a text, and tokens of a word, by split."""
    header = ["split", ">words median", ">p95", ">tokens median", ">p95", ">max", ">tokens a word"]
    return table(
        header,
        (
            [
                split,
                number(profile.words_median),
                number(profile.words_p95),
                _counted(profile.tokens_median),
                _counted(profile.tokens_p95),
                count(profile.tokens_max if _is_counted(profile.tokens_median) else None),
                _counted(profile.tokens_per_word),
            ]
            for split, profile in dataset.splits.items()
        ),
    )


def fit_table(dataset: DatasetRecord) -> Markdown:
    """Tokens of a word by label and split, without the special ones."""
    return table(
        ["label", *(f">{split}" for split in dataset.splits)],
        (
            [label, *(number(_rounded(profile.tokens_per_word_by_label.get(label)))
                      for profile in dataset.splits.values())]
            for label in dataset.labels
        ),
    )  # fmt: skip


def has_fit(dataset: DatasetRecord) -> bool:
    """Whether tokens were counted."""
    return any(profile.tokens_per_word_by_label for profile in dataset.splits.values())


def _share(rows: int, of: int) -> Markdown:
    return Markdown(f"{count(rows)} ({percent(rows / of)})") if of else count(rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _is_counted(value: float) -> bool:
    return not math.isnan(value)


def _counted(value: float) -> Markdown:
    return number(_rounded(value) if _is_counted(value) else None)


@functools.cache
def _template() -> jinja2.Template:
    environment = markdown_environment()
    environment.globals.update(
        data_tables=data_tables,
        formats=formats,
        sentences=sentences,
        code=code,
        sources_table=sources_table,
        rows_table=rows_table,
        labels_table=labels_table,
        lengths_table=lengths_table,
        fit_table=fit_table,
        has_fit=has_fit,
    )
    return environment.get_template("datasheet.md.j2")
