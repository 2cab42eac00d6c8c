"""``mlrun-assets predict``: labels for rows that have none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from mlrun_assets.cli.options import note, with_config
from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import MlrunError
from mlrun_assets.files import open_atomically

STANDARD = "-"


@click.command(
    help="Label the rows of FILE (JSON Lines, CSV, TSV or Parquet; `-`: JSON Lines from standard "
    "input) with the model in production. Each row comes back as a line of JSON with `label` and "
    "`probability`; what it already had under such a name is called `input_label`. "
    "A probability has the digits that are sure: two of its distance to 0 or 1, whichever is "
    "nearer; with --explain, which takes more time, six decimals."
)
@click.argument("source", metavar="FILE|-")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the answers go, all of them or none; unset: standard output.",
)
@click.option("--all", "all_labels", is_flag=True, help="Tell the `probabilities` of all labels.")
@click.option(
    "--explain",
    is_flag=True,
    help="Tell the `words` that moved the label most: how its log-probability changes without "
    "them. At most 64 further predictions a row.",
)
@click.option(
    "--skip-bad", is_flag=True, help="Give a row that can't be labelled an `error`, and go on."
)
@click.option("--version", help="Ask this version, not the one in production.")
@with_config
def predict(  # noqa: PLR0913  click gives every option by its name
    config: LoadedConfig,
    *,
    source: str,
    output: Path | None,
    all_labels: bool,
    explain: bool,
    skip_bad: bool,
    version: str | None,
) -> None:
    """Answer row by row; what is in memory is a window of the rows."""
    from mlrun_assets.lifecycle import predicting
    from mlrun_assets.stages.prediction import Wanted, answer_rows

    chosen = predicting.serving_version(config, version)
    data = predicting.data_of(chosen, config.settings.data)
    name = source
    if source == STANDARD:
        name = "standard input"
        rows = predicting.rows_of_stream(sys.stdin.buffer, name, data)
    else:
        rows = predicting.rows_of_file(Path(source), data)
    asked = Wanted(all_labels=all_labels, explanation=explain, skip_bad=skip_bad)
    classifier = predicting.load_classifier(config, chosen, exact=asked.exact)
    answers = answer_rows(rows, classifier, asked)
    told, bad = 0, 0
    shown = sys.stderr.isatty() and (output or not sys.stdout.isatty())
    with _opened(output) as file, _bar(shown=bool(shown)) as bar:
        for window in predicting.write_answers(answers, file):
            told += len(window)
            bad += sum("error" in answer for answer in window)
            bar.update(len(window))
        if not told:
            note(f"{name} holds no row")
    if bad:
        note(f"{bad:,} rows could not be labelled; `error` says why")


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """What answers are written to.

    Raises:
        MlrunError: it can't be written.
    """
    try:
        if output is None:
            yield sys.stdout.buffer
        elif output.exists() and not output.is_file():
            raise MlrunError(f"{output}: not a regular file; leave out --output and redirect")
        else:
            with open_atomically(output) as file:
                yield file
    except BrokenPipeError:
        # Whoever read has what it wanted (`| head`); Python must not flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise MlrunError(
            f"{output or 'standard output'}: can't be written: {error.strerror or error}; make "
            "room, or choose another --output"
        ) from None


def _bar(*, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(unit=" rows", file=sys.stderr, disable=not shown, dynamic_ncols=True)
