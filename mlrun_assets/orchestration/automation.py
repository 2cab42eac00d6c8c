"""The job that runs everything, jobs that move production by hand, and the sensor for new data."""

import json
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import dagster as dg
from pydantic import Field

from mlrun_assets.data.sources import source_paths
from mlrun_assets.errors import ConfigError, DataError
from mlrun_assets.experiment import find_experiment
from mlrun_assets.files import digest_bytes, digest_file
from mlrun_assets.orchestration.assets import stages
from mlrun_assets.orchestration.resources import MlRun, plain_errors
from mlrun_assets.production.diff import differences_table, list_differences, two_sides
from mlrun_assets.runs.promotion import promote_by_hand, roll_back, user_name

ml_run = dg.define_asset_job(
    "ml_run",
    selection=dg.AssetSelection.assets(*stages),
    description="One ML run, from data to a deployment decision and report.",
)


class PromotionConfig(dg.Config):
    """The experiment to deploy, and the reason."""

    experiment: str = Field(description="The id or name of the experiment.")
    reason: str | None = Field(
        default=None,
        description="Required if the verdict is not APPROVED or production has moved since.",
    )


class RollbackConfig(dg.Config):
    """The version to restore, and the reason."""

    to: str | None = Field(default=None, description="The version. Default: the previous one.")
    reason: str = Field(description="The reason, for the history.")


class ComparisonConfig(dg.Config):
    """The two models to compare."""

    models: list[str] = Field(
        default=[],
        description="Two versions or experiments. With one: it and production. With none: "
        "production and the previous version.",
        max_length=2,
    )


@dg.op
def compare_models(context: dg.OpExecutionContext, config: ComparisonConfig, ml_run: MlRun) -> None:
    """Compare two models. Changes nothing."""
    with plain_errors():
        first, second = two_sides(ml_run.load_config(), tuple(config.models))
        context.log.info(f"{first.name} and {second.name}:\n{list_differences(first, second)}")
        table = dg.MetadataValue.md(differences_table(first, second))
        context.add_output_metadata({"differences": table})


@dg.op
def move_production(context: dg.OpExecutionContext, config: PromotionConfig, ml_run: MlRun) -> None:
    """Move production to the exported model of an experiment."""
    with plain_errors():
        current = ml_run.load_config()
        experiment = find_experiment(current.experiments_dir, config.experiment)
        record = promote_by_hand(experiment, current, config.reason, user_name())
        context.log.info(record.sentence)


@dg.op
def restore_production(
    context: dg.OpExecutionContext, config: RollbackConfig, ml_run: MlRun
) -> None:
    """Move production back to an earlier version."""
    with plain_errors():
        record = roll_back(ml_run.load_config(), config.to, config.reason, user_name())
        context.log.info(record.sentence)


@dg.job
def compare_two_models() -> None:
    """Compare two models, for example before approving one."""
    compare_models()


@dg.job
def promote_experiment() -> None:
    """Deploy the model of an experiment by hand."""
    move_production()


@dg.job
def rollback_production() -> None:
    """Move production back to the previous or a named version."""
    restore_production()


DATA_TAG = "mlrun/data"


@dataclass(frozen=True)
class Cursor:
    """The state of the sensor between two ticks.

    ``fingerprint`` is of the names, sizes and times of the files at the last tick. ``asked_for`` is
    the one for which a run was last requested, or which was found to need none: unchanged files are
    not read at every tick. ``digest`` is of the content for which a run was last requested, and
    ``attempt`` the number of runs for it.
    """

    fingerprint: str = ""
    asked_for: str = ""
    digest: str = ""
    attempt: int = 0

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """The cursor in ``text``; a new one if it can't be read."""
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError):
            return cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dg.sensor(
    job=ml_run,
    minimum_interval_seconds=30,
    description="Starts a run when the local data files have changed and then stayed unchanged for "
    "two ticks. The same content never runs twice; a failed run is retried once.",
)
def new_data_sensor(context: dg.SensorEvaluationContext, ml_run: MlRun) -> dg.SensorResult:
    """Request a run for each new content of the data files."""
    cursor = Cursor.parse(context.cursor)
    try:
        sources = source_paths(ml_run.load_config())
    except ConfigError as error:
        return _skip(str(error), cursor)
    except DataError as error:
        return _skip(f"data not complete yet: {error}", cursor)
    found = chain.from_iterable(sources.values())
    paths = [Path(source.location) for source in found if not source.is_url]
    if not paths:
        return _skip("all data files are at URLs, which are not watched", cursor)
    fingerprint = _fingerprint(paths)
    if fingerprint != cursor.fingerprint:
        why = "files changed since the last tick; waiting until they stop changing"
        return _skip(why, replace(cursor, fingerprint=fingerprint))
    digest = cursor.digest if fingerprint == cursor.asked_for else _content_digest(paths)
    attempt = _next_attempt(context, cursor, digest)
    if attempt is None:
        why = "a run for this content was already requested"
        return _skip(why, replace(cursor, asked_for=fingerprint))
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{digest}#{attempt}", tags={DATA_TAG: digest[:20]})],
        cursor=Cursor(fingerprint, fingerprint, digest, attempt).dump(),
    )


MAX_ATTEMPTS = 2


def _next_attempt(context: dg.SensorEvaluationContext, cursor: Cursor, digest: str) -> int | None:
    """The number of the next attempt; None: this content needs no run.

    Dagster never repeats a run key, not even after a failure, so the key has this number.
    """
    if digest != cursor.digest:
        return 1
    if cursor.attempt >= MAX_ATTEMPTS:
        return None
    of_key = dg.RunsFilter(tags={"dagster/run_key": f"{digest}#{cursor.attempt}"})
    runs = context.instance.get_runs(of_key, limit=1)
    failed = runs and runs[0].status is dg.DagsterRunStatus.FAILURE
    return cursor.attempt + 1 if failed else None


def _content_digest(paths: list[Path]) -> str:
    return digest_bytes("\n".join(digest_file(path) for path in paths).encode())


def _fingerprint(paths: list[Path]) -> str:
    stats = ((path, path.stat()) for path in paths)
    lines = (f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)
    return digest_bytes("\n".join(lines).encode())


def _skip(reason: str, cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
