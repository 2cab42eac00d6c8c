"""``mlrun-assets check-data`` and ``predict``: rows in, checks or labels out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from mlrun_assets.cli import (
    as_json,
    command,
    complete_names,
    discard,
    note,
    progress,
    require_project,
    say,
    show,
    show_columns,
    show_json,
    with_config,
)
from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ConfigError, MlrunError, count
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import open_atomically, temporary_directory
from mlrun_assets.progress import task
from mlrun_assets.records import DatasetRecord

MOST_SHOWN, MOST_CHARACTERS = 3, 60  # of the labels to review


@command(
    "check-data",
    "Check the data without a run. Exits with 1 if a check blocks.",
    "check-data",
    "check-data --output checked",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the clean splits, the datasheet, and the lists of quarantined rows, "
    "leaking rows and labels to review. Default: none is kept.",
)
@as_json
@with_config
def check_data(config: LoadedConfig, output: Path | None, json: bool) -> None:
    """Run the stage `validated_dataset` without an experiment, and print its checks.

    Token counts need the encoder's tokenizer. If it can't be loaded, a note is printed, and the
    checks that need token counts are off.
    """
    from mlrun_assets.reports.data_section import conclusions, failed_rows

    require_project(config)
    with (
        # Removed also if a signal ends the process: it has the texts in it.
        nullcontext(output) if output else temporary_directory("check-data")
    ) as directory:
        paths = ExperimentPaths(directory)
        with progress("check-data", in_lines=False):
            dataset = _validate(config, paths.directory)
        lists = paths.listed_rows()
        if json:
            kept = {what: str(file) for what, file in lists.items()} if output else {}
            show_json(_as_json(dataset) | {"lists": kept})
            sys.exit(0 if dataset.ready else 1)
        show_columns(failed_rows(dataset))
        _show_labels(paths)
        for line in conclusions(dataset):
            say(line)
        if output:
            for what, file in {**lists, "datasheet": paths.datasheet}.items():
                show(f"{what:<16}  {file}")
        elif lists:
            names = ", ".join(paths.relative(file) for file in lists.values())
            note(f"--output DIRECTORY writes {names} there")
    sys.exit(0 if dataset.ready else 1)


def _show_labels(paths: ExperimentPaths) -> None:
    """Print the labels that are most likely wrong, with their texts."""
    import polars as pl

    from mlrun_assets.data.text import shorten

    lines = paths.review_labels.read_bytes().splitlines()
    rows = []
    for line in lines[:MOST_SHOWN]:
        row = orjson.loads(line)
        split = pl.read_parquet(paths.split(row["split"]), columns=["id", "text"])
        texts = split.filter(pl.col("id") == row["id"])["text"]  # none, if it is quarantined
        shown = shorten(next(iter(texts), ""), MOST_CHARACTERS)
        rows.append([row["split"], row["id"], row["label"], row["suggested"], shown])
    if rows:
        show(f"\n{count(len(lines), 'label')} to review. The most likely errors:")
        show_columns(rows, ("split", "id", "label", "suggested", "text"))
        show("")


def _validate(config: LoadedConfig, output: Path) -> DatasetRecord:
    """Validate the data into ``output``, and write the datasheet there."""
    from mlrun_assets.data.validation import check_files
    from mlrun_assets.runs.closing import write_datasheet

    try:
        dataset = check_files(config, output, note)
        write_datasheet(output, dataset, config.settings.data)
    except OSError as error:
        raise MlrunError(
            f"{output}: can't be written: {error.strerror}; choose another --output"
        ) from None
    return dataset


def _as_json(dataset: DatasetRecord) -> dict[str, Any]:
    splits = dataset.splits.items()
    return {
        "ready": dataset.ready,
        "rows": {
            name: {"read": s.rows_read, "kept": s.rows_kept, "quarantined": s.rows_quarantined}
            for name, s in splits
        },
        "checks": [check.model_dump(mode="json") for check in dataset.checks],
    }


@command(
    "predict",
    "Label texts with the production model. TEXT is one text. FILE is JSON Lines, CSV, TSV, "
    "Parquet or Arrow. `-` reads standard input: JSON Lines, or a text per line. Prints each row "
    "as a line of JSON with `label` and `probability`; an input column with the same name is "
    "renamed, for example from `label` to `input_label`. If the model has a confidence threshold "
    "(deployment.min_precision), `accepted` is true or false. Probabilities are rounded to the "
    "digits that are reliable; --explain computes six decimals.",
    'predict "Kooxda kubadda ayaa guulaysatay"',
    "predict new.jsonl --output labelled.jsonl",
    "predict new.csv --explain",
    'predict "Beeraha" --version baseline-v2',
)
@click.argument("source", metavar="TEXT|FILE|-")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the answers, written only if all rows are labelled. Default: standard output.",
)
@click.option("--all", "all_labels", is_flag=True, help="Add the `probabilities` of all labels.")
@click.option(
    "--explain",
    is_flag=True,
    help="Add the `words` that matter most for the label, with the change of its log-probability "
    "when they are removed. Slower: up to 64 more predictions per row.",
)
@click.option(
    "--skip-invalid",
    is_flag=True,
    help="Add `error` to a row that can't be labelled, and continue.",
)
@click.option(
    "--version",
    shell_complete=complete_names,
    help="A version or an experiment, by its name or id. Default: production.",
)
@with_config
def predict(  # noqa: PLR0913  click gives every option by its name
    config: LoadedConfig,
    *,
    source: str,
    output: Path | None,
    all_labels: bool,
    explain: bool,
    skip_invalid: bool,
    version: str | None,
) -> None:
    """Label row by row; only a window of rows is in memory."""
    from mlrun_assets.data.other_rows import read_stream
    from mlrun_assets.production import prediction
    from mlrun_assets.production.answers import PredictOptions, answer_rows

    if output and _same_file(output, source):
        raise ConfigError(f"{output}: would be replaced by its answers; choose another --output")
    model = prediction.model_to_ask(config, version)
    data = model.data(config.settings.data)
    if source == "-":
        source = "standard input"
        rows = prediction.text_rows(read_stream(sys.stdin.buffer, source, data), source, data)
    else:
        rows = prediction.rows_to_label(source, data)
    options = PredictOptions(all_labels=all_labels, explanation=explain, skip_invalid=skip_invalid)
    with progress("predict", in_lines=False):
        classifier = prediction.load_classifier(model, exact=explain)
    answers = answer_rows(rows, classifier, options)
    labelled, bad, read_all = 0, 0, False
    # A bar would be among the answers.
    hidden = output is None and sys.stdout.isatty()
    with (
        _opened(output) as file,
        nullcontext() if hidden else progress("predict", in_lines=False),
        task("labelling") as advance,
    ):
        for window in prediction.write_answers(answers, file):
            labelled += len(window)
            bad += sum("error" in answer for answer in window)
            advance(len(window))
        read_all = True
    if read_all and not labelled:
        note(f"{source}: no rows")
    if bad:
        note(f"{count(bad, 'row')} could not be labelled; see `error`")


def _same_file(output: Path, source: str) -> bool:
    try:
        return output.samefile(source)
    except (OSError, ValueError):  # the output is new, or the source is a text
        return False


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """The file or stream that the answers are written to; `MlrunError` if it can't be written."""
    try:
        if output is None:
            yield sys.stdout.buffer
        elif output.exists() and not output.is_file():
            raise MlrunError(f"{output}: not a regular file; leave out --output and redirect")
        else:
            with open_atomically(output) as file:
                yield file
    except BrokenPipeError:
        # The reader has ended (`| head`); Python must not flush the rest at exit.
        discard(sys.stdout)
    except OSError as error:
        raise MlrunError(
            f"{output or 'standard output'}: can't be written: {error.strerror or error}; make "
            "room, or choose another --output"
        ) from None
