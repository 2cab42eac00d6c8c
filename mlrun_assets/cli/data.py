"""``mlrun-assets check-data``: the data alone."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from mlrun_assets.cli.options import note, note_defaults, with_config
from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import EncoderError, MlrunError
from mlrun_assets.experiment_store import ExperimentPaths
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
    from mlrun_assets.encoders import resolve_encoder
    from mlrun_assets.lifecycle.closing import write_datasheet
    from mlrun_assets.reporting.check_listing import list_checks
    from mlrun_assets.stages.data import token_counter, validate_dataset

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
