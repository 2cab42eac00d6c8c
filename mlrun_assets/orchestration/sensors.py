"""Runs that new data starts."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dagster as dg

from mlrun_assets.errors import ConfigError, DataError
from mlrun_assets.files import digest_bytes, digest_file
from mlrun_assets.orchestration.jobs import ml_run as ml_run_job
from mlrun_assets.orchestration.resources import MlRun
from mlrun_assets.stages.quality.reading import source_paths

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
    job=ml_run_job,
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
