"""The run as a job, and production moved by a person from the UI."""

import json
from dataclasses import asdict, dataclass, replace
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
from mlrun_assets.production.promotion import mover, promote_by_hand, roll_back

ml_run = dg.define_asset_job(
    "ml_run",
    selection=dg.AssetSelection.assets(*stages),
    description="One ML run, from data to a deployment decision.",
)


class PromotionConfig(dg.Config):
    """Which experiment is to serve, and why."""

    experiment: str = Field(description="The experiment's id or name.")
    reason: str | None = Field(
        default=None,
        description="Why; needed where the verdict is not APPROVED, or production has moved since.",
    )


class RollbackConfig(dg.Config):
    """Which version is to serve again, and why."""

    to: str | None = Field(default=None, description="A version; unset: the one before.")
    reason: str = Field(description="Why.")


class ComparisonConfig(dg.Config):
    """Which two models are laid side by side."""

    models: list[str] = Field(
        default=[],
        description="Two versions or experiments; one: it is compared with production; none: "
        "production with the version before.",
        max_length=2,
    )


@dg.op(description="Tells what differs between two models; changes nothing.")
def compare_models(context: dg.OpExecutionContext, config: ComparisonConfig, ml_run: MlRun) -> None:
    """What a person reads before approving."""
    with plain_errors():
        first, second = two_sides(ml_run.load_config(), tuple(config.models))
        context.log.info(f"{first.name} and {second.name}:\n{list_differences(first, second)}")
        context.add_output_metadata(
            {"differences": dg.MetadataValue.md(differences_table(first, second))}
        )


@dg.op(description="Moves production to the exported model of an experiment.")
def move_production(context: dg.OpExecutionContext, config: PromotionConfig, ml_run: MlRun) -> None:
    """A person's approval."""
    with plain_errors():
        current = ml_run.load_config()
        experiment = find_experiment(current.experiments_dir, config.experiment, ())
        record = promote_by_hand(experiment, current, config.reason, mover())
        context.log.info(record.sentence)


@dg.op(description="Lets an earlier version serve again.")
def restore_production(
    context: dg.OpExecutionContext, config: RollbackConfig, ml_run: MlRun
) -> None:
    """A person's way back."""
    with plain_errors():
        record = roll_back(ml_run.load_config(), config.to, config.reason, mover())
        context.log.info(record.sentence)


@dg.job(description="What differs between two models, before one is approved.")
def compare_two_models() -> None:
    """Lay two models side by side."""
    compare_models()


@dg.job(description="Approve a model by hand: its experiment, and a reason where it needs one.")
def promote_experiment() -> None:
    """Deploy the model of an experiment."""
    move_production()


@dg.job(description="Go back to the model that served before, or to a named version.")
def rollback_production() -> None:
    """Restore an earlier model."""
    restore_production()


DATA_TAG = "mlrun/data"


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers between two ticks.

    ``fingerprint`` is of names, sizes and times at the last tick; ``digest`` is of the content for
    which a run was last asked, ``asked_for`` the fingerprint that it had, so that resting files are
    not read at every tick, and ``attempt`` counts the runs for it.
    """

    fingerprint: str = ""
    asked_for: str = ""
    digest: str = ""
    attempt: int = 0

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """The cursor in ``text``; one that can't be read is a fresh one."""
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError):
            return cls()

    def dump(self) -> str:
        """The cursor as text."""
        return json.dumps(asdict(self))


@dg.sensor(
    job=ml_run,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Starts a run when the local files that the config names have changed and rest: "
    "two ticks must agree, the same content never runs twice, and a failed run is tried once more.",
)
def new_data_sensor(context: dg.SensorEvaluationContext, ml_run: MlRun) -> dg.SensorResult:
    """Fire once for each new content of the data files."""
    cursor = Cursor.parse(context.cursor)
    try:
        sources = source_paths(ml_run.load_config())
    except ConfigError as error:
        return _skip(str(error), cursor)
    except DataError as error:
        return _skip(f"not there yet: {error}", cursor)
    paths = [
        Path(source.location) for each in sources.values() for source in each if not source.is_url
    ]
    if not paths:
        return _skip("all data is at URLs, which are not watched", cursor)
    fingerprint = _fingerprint(paths)
    if fingerprint != cursor.fingerprint:
        return _skip(
            "the files have changed; waiting for a tick at which they rest",
            replace(cursor, fingerprint=fingerprint),
        )
    digest = cursor.digest if fingerprint == cursor.asked_for else _content_digest(paths)
    attempt = _next_attempt(context, cursor, digest)
    if attempt is None:
        return _skip("this content was run already", replace(cursor, asked_for=fingerprint))
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{digest}#{attempt}", tags={DATA_TAG: digest[:20]})],
        cursor=Cursor(fingerprint, fingerprint, digest, attempt).dump(),
    )


MAX_ATTEMPTS = 2


def _next_attempt(context: dg.SensorEvaluationContext, cursor: Cursor, digest: str) -> int | None:
    """The number of the attempt to ask for; None: this content needs no run.

    Dagster never repeats a run key, also not after a failure: hence the number in it.
    """
    if digest != cursor.digest:
        return 1
    if cursor.attempt >= MAX_ATTEMPTS:
        return None
    runs = context.instance.get_runs(
        dg.RunsFilter(tags={"dagster/run_key": f"{digest}#{cursor.attempt}"}), limit=1
    )
    failed = runs and runs[0].status is dg.DagsterRunStatus.FAILURE
    return cursor.attempt + 1 if failed else None


def _content_digest(paths: list[Path]) -> str:
    return digest_bytes("\n".join(digest_file(path) for path in paths).encode())


def _fingerprint(paths: list[Path]) -> str:
    stats = [(path, path.stat()) for path in paths]
    seen = [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return digest_bytes("\n".join(seen).encode())


def _skip(reason: str, cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
