"""``mlrun-assets``: one ML run, and the model in production, from a terminal.

Exit codes: 0 done (a rejected model is a result), 1 failed, 2 the config or the call is wrong,
3 a run blocked by the data, 130 cancelled. ``check-data`` has one question to answer: it exits 1
when the data blocks.
"""

from __future__ import annotations

import functools
import getpass
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click
from filelock import FileLock

from mlrun_assets.config import (
    COLUMNS_VARIABLE,
    CONFIG_VARIABLE,
    LoadedConfig,
    json_schema,
    load_config,
)
from mlrun_assets.errors import EncoderError, MlrunError
from mlrun_assets.experiment_store import (
    Experiment,
    all_experiments,
    experiment_of_run,
    find_experiment,
)
from mlrun_assets.records import DatasetRecord, Status

if TYPE_CHECKING:
    from mlrun_assets.lifecycle.resuming import TakenUp

EXIT_CODES = {
    Status.COMPLETE: 0,
    Status.FAILED: 1,
    Status.BLOCKED: 3,
    Status.CANCELLED: 130,
}
DAGSTER_YAML = """\
# No telemetry, no questions to newcomers, and no debug lines on the terminal.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  python_log_level: INFO
"""

P = ParamSpec("P")


def main() -> None:
    """The entry point: errors of ours are shown without a traceback."""
    try:
        commands(standalone_mode=False)
    except MlrunError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cancelled", err=True)
        sys.exit(130)


@click.group(help="One ML run for a low-resource language, from data to a deployment decision.")
@click.version_option(package_name="mlrun-assets")
def commands() -> None:
    """All commands."""


def _with_config(command: Callable[P, None]) -> Callable[..., None]:
    """Adds ``--config`` and hands the config that it leads to over as the first argument."""

    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help=f"The config file; unset: ${CONFIG_VARIABLE}, else ml_config.yaml.",
    )
    @functools.wraps(command)
    def wrapped(file: Path | None, *args: P.args, **kwargs: P.kwargs) -> None:
        command(load_config(file), *args, **kwargs)  # type: ignore[arg-type]

    return wrapped


@commands.command(help="Run everything: data, training, evaluation, decision, report.")
@click.argument("name", required=False)
@click.option(
    "--resume",
    metavar="EXPERIMENT",
    help="Go on with an experiment that was stopped, by its id or name: what has come to its end "
    "is not run again.",
)
@_with_config
def run(config: LoadedConfig, name: str | None, resume: str | None) -> None:
    """Run the whole graph in this process, or what is left of it in an earlier experiment."""
    from mlrun_assets.lifecycle.resuming import take_up
    from mlrun_assets.stages.experiment import slug

    if name and resume is not None:
        raise click.UsageError(
            "a NAME opens a new experiment, and --resume goes on with an earlier one: leave out one"
        )
    if name:
        slug(name)
    taken_up = take_up(config, resume, _note) if resume is not None else None
    if taken_up is None:
        experiment = _execute(config, name, None)
    elif taken_up.stages:
        click.echo(f"{taken_up.experiment.id} goes on with {', '.join(taken_up.stages)}", err=True)
        experiment = _execute(config, None, taken_up)
    else:
        experiment = taken_up.experiment
        click.echo(f"{experiment.id} has come to its end: nothing is left to run", err=True)
    _tell_end(config, experiment)


def _execute(config: LoadedConfig, name: str | None, taken_up: TakenUp | None) -> Experiment:
    """Run the graph in a new experiment, or what is left of it in the one that was taken up.

    Raises:
        MlrunError: the run failed before it came to an experiment.
    """
    use_dagster_home(config)
    if sys.stderr.isatty():
        os.environ[COLUMNS_VARIABLE] = str(os.get_terminal_size(sys.stderr.fileno()).columns)
    import dagster as dg

    from mlrun_assets.definitions import defs

    resource = {"config_file": str(config.file)} if config.file else {}
    ops: dict[str, object] = {"experiment": {"config": {"name": name} if name else {}}}
    selection = None
    if taken_up:
        resource["experiment_id"], ops = taken_up.experiment.id, {}
        selection = [dg.AssetKey(stage) for stage in taken_up.stages]
    with FileLock(Path(os.environ["DAGSTER_HOME"]) / ".lock"):
        # Two processes that create the same history at once leave one that nobody can open.
        instance = dg.DagsterInstance.get()
    with instance:
        result = defs.resolve_job_def("ml_run").execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=selection,
            run_config={
                "ops": ops,
                "resources": {"ml_run": {"config": resource}},
                "loggers": {"plain": {}},
            },
        )
    experiment = experiment_of_run(config.experiments_dir, result.run_id)
    if experiment is None:
        raise MlrunError(_first_error(result))
    return experiment


def _tell_end(config: LoadedConfig, experiment: Experiment) -> None:
    """Print how a run ended and where its report is, and exit with the code of that end."""
    from mlrun_assets.lifecycle.closing import run_summary

    manifest = experiment.manifest
    click.echo(f"\n{manifest.status}: {run_summary(experiment, manifest.error)}")
    if manifest.error and manifest.status is not Status.CANCELLED:
        click.echo(manifest.error, err=True)
    click.echo(f"experiment  {experiment.directory}")
    click.echo(f"report      {config.reports_dir / 'implementation' / manifest.report}.md")
    sys.exit(EXIT_CODES.get(manifest.status, 1))


@commands.command("check-data", help="Check the data alone; exits 1 when it blocks.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the clean splits, the rows put aside and the datasheet go; unset: a temporary "
    "directory, kept only when rows were put aside.",
)
@_with_config
def check_data(config: LoadedConfig, output: Path | None) -> None:
    """Run the stage `validated_dataset` without an experiment, and print its checks.

    Token counts need the encoder's tokenizer. Where it can't be loaded, a note says so, the checks
    that need the counts are off, and the others run.
    """
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
        click.echo(f"datasheet   {output / 'data/datasheet.md'}")
    sys.exit(0 if dataset.ready else 1)


def _validate(config: LoadedConfig, output: Path) -> DatasetRecord:
    """Validate the data into ``output``, write the datasheet there and print the checks."""
    from mlrun_assets.encoders import resolve_encoder
    from mlrun_assets.lifecycle.closing import write_datasheet
    from mlrun_assets.reporting.check_listing import list_checks
    from mlrun_assets.stages.data import token_counter, validate_dataset

    model = config.config.model
    try:
        counter = token_counter(resolve_encoder(model.name, model.revision, config.directory))
    except EncoderError as error:
        _note(f"no token counts, so nothing is said of lengths: {error}")
        counter = None
    try:
        dataset = validate_dataset(config, output, counter)
        write_datasheet(output, dataset)
    except OSError as error:
        raise MlrunError(
            f"{output}: can't be written: {error.strerror}; choose another --output"
        ) from None
    click.echo(list_checks(dataset))
    return dataset


@commands.command(help="What is in production, the latest runs and the open tech debt.")
@click.option("--limit", default=10, show_default=True, help="How many runs to show.")
@_with_config
def status(config: LoadedConfig, limit: int) -> None:
    """Print what the records say; changes nothing."""
    from mlrun_assets.lifecycle.closing import run_summary
    from mlrun_assets.stages.production import read_production
    from mlrun_assets.stages.tech_debt import read_open_debt

    serving = read_production(config.production_dir)
    if serving:
        click.echo(f"production  {serving.version}, since {serving.promoted_at}")
    else:
        click.echo("production  nothing deployed yet")
    for experiment in all_experiments(config.experiments_dir)[:limit]:
        manifest = experiment.manifest
        click.echo(
            f"{manifest.status:<11} {experiment.id}  {run_summary(experiment, manifest.error)}"
        )
    for item in read_open_debt(config.reports_dir):
        click.echo(f"TD-{item.number:03d}      {item.impact:<7} {item.description}")


@commands.command(help="Deploy the model of EXPERIMENT (its id or name).")
@click.argument("experiment")
@click.option("--reason", help="Why; needed where the verdict is not APPROVED.")
@_with_config
def promote(config: LoadedConfig, experiment: str, reason: str | None) -> None:
    """A person's decision."""
    from mlrun_assets.lifecycle.promoting import promote_by_hand

    found = find_experiment(config.experiments_dir, experiment, ())
    click.echo(promote_by_hand(found, config, reason, getpass.getuser()).sentence)


@commands.command(help="Let the version before, or the one named, serve again.")
@click.option("--to", help="The version; unset: the one that served before.")
@click.option("--reason", required=True, help="Why.")
@_with_config
def rollback(config: LoadedConfig, to: str | None, reason: str) -> None:
    """A person's way back."""
    from mlrun_assets.lifecycle.promoting import roll_back

    click.echo(roll_back(config, to, reason, getpass.getuser()).sentence)


@commands.command(help="The JSON Schema of ml_config.yaml, for editors.")
def schema() -> None:
    """Print the schema."""
    click.echo(json.dumps(json_schema(), indent=2))


def use_dagster_home(config: LoadedConfig) -> None:
    """Let Dagster keep its history beside the config, unless DAGSTER_HOME says where."""
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen and not (Path(chosen).is_absolute() and Path(chosen).is_dir()):
        raise MlrunError(
            f"DAGSTER_HOME is {chosen}: export the absolute path of a directory that exists, or "
            "unset it"
        )
    if not chosen:
        home = config.directory / ".dagster"
        try:
            home.mkdir(exist_ok=True)
            settings = home / "dagster.yaml"
            if not settings.exists():
                settings.write_text(DAGSTER_YAML, encoding="utf-8")
        except OSError as error:
            raise MlrunError(
                f"{home}: Dagster's history can't be kept here: {error.strerror}; export "
                "DAGSTER_HOME as the absolute path of a directory that can be written"
            ) from None
        os.environ["DAGSTER_HOME"] = str(home)


def _note(line: str) -> None:
    click.echo(f"note: {line}", err=True)


def _first_error(result: object) -> str:
    """What the first step that failed says."""
    for event in result.all_events:  # type: ignore[attr-defined]
        if event.is_step_failure:
            return str(event.step_failure_data.error.message).strip()
    return "the run failed before its first asset; see the log above"


if __name__ == "__main__":
    main()
