"""The job that runs everything, jobs for what people do by hand, the schedule and the sensor."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from pydantic import Field

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data import validation
from mlrun_assets.data.sources import digest_sources, source_paths
from mlrun_assets.data.text import one_line
from mlrun_assets.errors import DataBlockedError, DataError, MlrunError, message_of
from mlrun_assets.experiment import all_experiments, find_experiment
from mlrun_assets.files import digest_bytes
from mlrun_assets.orchestration.assets import stages
from mlrun_assets.orchestration.resources import (
    VERDICT_TAG,
    MlRun,
    for_ui,
    plain_errors,
    tag_run,
    visibly,
)
from mlrun_assets.production.compare import differences_table, list_differences, side_by_side
from mlrun_assets.records import Verdict
from mlrun_assets.reports.data_section import checks_table
from mlrun_assets.reports.summaries import summarise_dataset
from mlrun_assets.runs.promotion import promote_by_hand, roll_back, user_name

DATA_TAG, REASON_TAG = "mlrun/data", "mlrun/reason"

ml_run = dg.define_asset_job(
    "ml_run",
    selection=dg.AssetSelection.assets(*stages),
    description="One ML run, from data to a deployment decision and report.",
    # What the launchpad opens with.
    config={"ops": {"experiment": {"config": {"name": "", "overrides": []}}}},
)


# The launchpad leaves out a field whose default is None, so an empty text stands for none.
class PromotionConfig(dg.Config):
    """The experiment to deploy, and the reason."""

    experiment: str = Field(description="The name or id of the experiment.")
    reason: str = Field(
        default="",
        description="Required if the verdict is not APPROVED, or if production has changed since.",
    )


class RollbackConfig(dg.Config):
    """The version to restore, and the reason."""

    to: str = Field(default="", description="The name or id of the version. Empty: the previous.")
    reason: str = Field(description="The reason, for the history.")


class ComparisonConfig(dg.Config):
    """The models to compare."""

    models: list[str] = Field(
        default=[],
        description="Names or ids of versions or experiments. With one: it and production. With "
        "none: production and the previous version.",
    )


@dg.op
def check_the_data(context: dg.OpExecutionContext, ml_run: MlRun) -> None:
    """Run the data checks. Fails if one blocks; keeps nothing."""
    with plain_errors(), TemporaryDirectory(prefix="check-data-") as directory:
        warn = visibly(context.log.warning)
        dataset = validation.check_files(ml_run.load_config(), Path(directory), warn)
        summary = dg.MetadataValue.md(summarise_dataset(dataset))
        table = dg.MetadataValue.md(checks_table(dataset.checks))
        context.add_output_metadata({"summary": summary, "checks": table})
        blocking = [check for check in dataset.checks if check.blocks]
        if blocking:
            raise DataBlockedError("\n".join(f"{each.name}: {each.message}" for each in blocking))


@dg.op
def compare_models(context: dg.OpExecutionContext, config: ComparisonConfig, ml_run: MlRun) -> None:
    """Compare models. Changes nothing."""
    with plain_errors():
        found = side_by_side(ml_run.load_config(), config.models)
        visibly(context.log.info)(f"{' and '.join(found.models)}:\n{list_differences(found)}")
        table = dg.MetadataValue.md(differences_table(found))
        context.add_output_metadata({"differences": table})


@dg.op
def promote_model(context: dg.OpExecutionContext, config: PromotionConfig, ml_run: MlRun) -> None:
    """Move production to the exported model of an experiment."""
    with plain_errors():
        current = ml_run.load_config()
        experiment = find_experiment(current.experiments_dir, config.experiment)
        tag_run(context, experiment)
        record = promote_by_hand(experiment, current, config.reason, user_name())
        visibly(context.log.info)(record.sentence)


@dg.op
def restore_version(context: dg.OpExecutionContext, config: RollbackConfig, ml_run: MlRun) -> None:
    """Move production back to an earlier version."""
    with plain_errors():
        record = roll_back(ml_run.load_config(), config.to or None, config.reason, user_name())
        visibly(context.log.info)(record.sentence)


@dg.job
def check_data() -> None:
    """Check the data without a run. Fails if a check blocks."""
    check_the_data()


@dg.job(config={"ops": {"compare_models": {"config": {"models": []}}}})
def compare() -> None:
    """Compare models, for example before approving one."""
    compare_models()


@dg.job(config={"ops": {"promote_model": {"config": {"experiment": "", "reason": ""}}}})
def promote() -> None:
    """Deploy the model of an experiment by hand: give its name."""
    promote_model()


@dg.job(config={"ops": {"restore_version": {"config": {"to": "", "reason": ""}}}})
def rollback() -> None:
    """Move production back to the previous or a named version."""
    restore_version()


jobs: list[Any] = [ml_run, check_data, compare, promote, rollback]

weekly_run = dg.ScheduleDefinition(
    name="weekly_run",
    job=ml_run,
    cron_schedule="0 3 * * 1",
    description="Starts a run each Monday at 03:00 UTC, whether anything has changed or not. For "
    "data at URLs, which new_data_sensor does not watch.",
    tags={REASON_TAG: "the weekly schedule"},
)


@dataclass(frozen=True)
class Cursor:
    """The state of the sensor between two ticks.

    ``fingerprint`` is of the names, sizes and times of the files at the last tick. ``decided`` is
    the one at which the sensor last decided whether to run, and ``digest`` is of the content then:
    unchanged files are not read at every tick.
    """

    fingerprint: str = ""
    decided: str = ""
    digest: str = ""

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
    description="Starts a run when the local data files have content that no run has read, once "
    "they have stayed unchanged for two ticks. A failed run is retried once, unless the data "
    "blocked it. Content that was run before, by hand or by the sensor, starts none, and neither "
    "does a changed config.",
)
def new_data_sensor(context: dg.SensorEvaluationContext, ml_run: MlRun) -> dg.SensorResult:
    """Request a run for each new content of the data files.

    An error, such as a mistake in the config, skips the tick. If the tick failed, Dagster would
    print a stack every 30 seconds.
    """
    cursor = Cursor.parse(context.cursor)
    try:
        return _tick(context.instance, ml_run.load_config(), cursor)
    except (MlrunError, OSError) as error:
        return _skip(f"error: {for_ui(one_line(message_of(error)))}", cursor)


def _tick(instance: dg.DagsterInstance, config: LoadedConfig, cursor: Cursor) -> dg.SensorResult:
    try:
        sources = source_paths(config)
    except DataError as error:
        return _skip(f"data not complete yet: {error}", cursor)
    by_split = {
        split: [each for each in found if not each.is_url] for split, found in sources.items()
    }
    local = {split: found for split, found in by_split.items() if found}
    if not local:
        return _skip("all data files are at URLs, which are not watched", cursor)
    fingerprint = _fingerprint(Path(each.location) for each in chain.from_iterable(local.values()))
    if fingerprint != cursor.fingerprint:
        why = "files changed since the last tick; waiting until they stop changing"
        return _skip(why, replace(cursor, fingerprint=fingerprint))
    if fingerprint == cursor.decided:
        content, after = {}, cursor
    else:
        content = {split: digest_sources(found) for split, found in local.items()}
        after = Cursor(fingerprint, fingerprint, digest_bytes(json.dumps(content).encode()))
    runs = _runs_of(instance, after.digest)
    if reason := _why_no_run(config, content, runs):
        return _skip(f"{reason}; a changed config starts no run: start it by hand", after)
    attempt = len(runs) + 1
    why = f"attempt {attempt} of {MAX_ATTEMPTS} on new content of the data files"
    tags = {DATA_TAG: after.digest[:20], REASON_TAG: why}
    request = dg.RunRequest(run_key=f"{after.digest}#{attempt}", tags=tags)
    return dg.SensorResult(run_requests=[request], cursor=after.dump())


MAX_ATTEMPTS = 2


def _runs_of(instance: dg.DagsterInstance, digest: str) -> list[dg.DagsterRun]:
    """The runs that the sensor has started for the content, one per attempt.

    Dagster never repeats a run key, not even after a failure, so the key has the number.
    """
    keys = [f"{digest}#{attempt}" for attempt in range(1, MAX_ATTEMPTS + 1)]
    filters = [dg.RunsFilter(tags={"dagster/run_key": key}) for key in keys]
    return list(chain.from_iterable(instance.get_runs(each, limit=1) for each in filters))


def _why_no_run(
    config: LoadedConfig, content: dict[str, str | None], runs: list[dg.DagsterRun]
) -> str | None:
    """Why no run starts on ``content``, a digest by split, which is empty if no file has changed.

    ``runs`` are those that the sensor has started for it.
    """
    if runs:
        failed = runs[-1].status is dg.DagsterRunStatus.FAILURE
        blocked = runs[-1].tags.get(VERDICT_TAG) == Verdict.BLOCKED  # the same data blocks again
        again = failed and not blocked and len(runs) < MAX_ATTEMPTS
        return None if again else f"run {runs[-1].run_id} was started for this content"
    if not content:
        return "no file has changed"
    for experiment in all_experiments(config.experiments_dir):
        if content.items() <= experiment.manifest.inputs.items():
            return f"experiment {experiment.id} has read this content"
    return None


def _fingerprint(paths: Iterable[Path]) -> str:
    stats = ((path, path.stat()) for path in paths)
    lines = (f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)
    return digest_bytes("\n".join(lines).encode())


def _skip(reason: str, cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=cursor.dump())
