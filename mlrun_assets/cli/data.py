"""``mlrun-assets check-data``: the data alone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from mlrun_assets.cli import note, note_defaults, with_config
from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import EncoderError, MlrunError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import open_atomically
from mlrun_assets.records import DatasetRecord


@click.command("check-data", help="Check the data alone; exits 1 when it blocks.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the clean splits, the rows put aside and the datasheet go; unset: a temporary "
    "directory, kept only when rows were put aside.",
)
@with_config
def check_data(config: LoadedConfig, output: Path | None) -> None:
    """Run the stage `validated_dataset` without an experiment, and print its checks.

    Token counts need the encoder's tokenizer. Where it can't be loaded, a note says so, the checks
    that need the counts are off, and the others run.
    """
    note_defaults(config)
    if output:
        dataset = _validate(config, output)
        kept = True
    else:
        output = Path(tempfile.mkdtemp(prefix="check-data-"))
        kept = False
        try:
            dataset = _validate(config, output)
            kept = bool(dataset.quarantine_reasons)
        finally:
            if not kept:
                shutil.rmtree(output)
    if kept:
        click.echo(f"quarantine  {output / dataset.quarantine_file}")
        click.echo(f"datasheet   {ExperimentPaths(output).datasheet}")
    sys.exit(0 if dataset.ready else 1)


def _validate(config: LoadedConfig, output: Path) -> DatasetRecord:
    """Validate the data into ``output``, write the datasheet there and print the checks."""
    from mlrun_assets.data.validation import token_counter, validate_dataset
    from mlrun_assets.encoders.source import resolve_encoder
    from mlrun_assets.reports.data_section import list_checks
    from mlrun_assets.runs.closing import write_datasheet

    model = config.settings.model
    try:
        counter = token_counter(resolve_encoder(model.name, model.revision, config.directory))
    except EncoderError as error:
        note(f"no token counts, so nothing is said of lengths: {error}")
        counter = None
    try:
        dataset = validate_dataset(config, output, counter)
        write_datasheet(output, dataset, config.settings.data)
    except OSError as error:
        raise MlrunError(
            f"{output}: can't be written: {error.strerror}; choose another --output"
        ) from None
    click.echo(list_checks(dataset))
    return dataset


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
    from mlrun_assets.production import prediction as predicting
    from mlrun_assets.production.answers import PredictOptions, answer_rows

    chosen = predicting.serving_version(config, version)
    data = predicting.data_of(chosen, config.settings.data)
    name = source
    if source == STANDARD:
        name = "standard input"
        rows = predicting.rows_of_stream(sys.stdin.buffer, name, data)
    else:
        rows = predicting.rows_of_file(Path(source), data)
    asked = PredictOptions(all_labels=all_labels, explanation=explain, skip_bad=skip_bad)
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
