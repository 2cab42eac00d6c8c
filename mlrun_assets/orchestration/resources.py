"""The `ml_run` resource: config and experiment of a run; errors without a stack; a logger."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import DataBlockedError, ExperimentError, MlrunError, message_of
from mlrun_assets.experiment import Experiment, experiment_of_run, find_experiment
from mlrun_assets.markdown import visible
from mlrun_assets.orchestration.dagster_internals import (
    error_without_stack,
    interrupt_without_stack,
)
from mlrun_assets.progress import PlainText, current_view
from mlrun_assets.records import DecisionRecord
from mlrun_assets.runs import MADE_FROM
from mlrun_assets.runs.stage import (
    Stage,
    find_to_continue,
    missing_sources,
    run_stage,
    sources_of,
)
from mlrun_assets.types import ProgressCallback

EXPERIMENT_TAG, NAME_TAG, VERDICT_TAG = "mlrun/experiment", "mlrun/name", "mlrun/verdict"


class MlRun(dg.ConfigurableResource):
    """The config of a run, and the experiment that it works on."""

    config_file: str | None = Field(
        default=None,
        description="The config file. Default: MLRUN_CONFIG, else ml_config.yaml.",
    )
    experiment_id: str | None = Field(
        default=None,
        description="Id or name of an earlier experiment to work on. Default: that of this run; if "
        "it opened none, the one in which the needed assets were last materialized.",
    )

    def load_config(self, overrides: Sequence[str] = ()) -> LoadedConfig:
        """Load the config file, with ``overrides`` such as ``training.epochs=2``."""
        return load_config(self.config_file, overrides)

    @contextmanager
    def stage(self, context: dg.AssetExecutionContext) -> Iterator[Stage]:
        """Run the body of the asset of ``context`` as a stage of its experiment."""
        with plain_errors(context.run):
            current = self.load_config()
            experiment = self._find(current, context)
            config = experiment.config(current)
            context.log.debug(f"experiment {experiment.id} ({experiment.manifest.name})")
            stage = Stage(experiment, config, context.run.run_id, visibly(context.log.info))
            try:
                with run_stage(stage, context.asset_key.to_user_string()):
                    yield stage
            except DataBlockedError:
                tag_run(context, experiment)
                raise

    def _find(self, config: LoadedConfig, context: dg.AssetExecutionContext) -> Experiment:
        """The experiment that this run has worked on, or the one to continue."""
        run, parent = context.run, config.experiments_dir
        if mine := experiment_of_run(parent, run.run_id):
            return mine
        selected = context.job_def.asset_layer.selected_asset_keys
        stages = {key.to_user_string() for key in selected} & set(MADE_FROM)
        earlier = list(filter(None, (run.parent_run_id, run.root_run_id)))
        if self.experiment_id is not None:
            experiment = find_experiment(parent, self.experiment_id)
        else:
            latest = _latest_runs(context.instance, sources_of(stages))
            experiment = find_to_continue(parent, stages, [*earlier, *latest])
        # Nothing is written before this: the experiment is that of another run.
        if missing := missing_sources(experiment, stages):
            raise ExperimentError(
                f"{experiment.id}: {', '.join(missing)} must be done first; select them as well, "
                "or name another experiment in resources.ml_run.config.experiment_id"
            )
        if not set(earlier) & set(experiment.manifest.run_ids) and self.experiment_id is None:
            context.log.warning(
                f"this run opened no experiment and continues {experiment.id}; to choose another, "
                "set resources.ml_run.config.experiment_id"
            )
        tag_run(context, experiment)
        return experiment


def _latest_runs(instance: dg.DagsterInstance, stages: list[str]) -> list[str]:
    """The runs that last materialized each of ``stages``, the latest first."""
    found = (instance.fetch_materializations(dg.AssetKey(name), limit=1) for name in stages)
    records = [record for result in found for record in result.records]
    return [r.run_id for r in sorted(records, key=lambda r: r.storage_id, reverse=True)]


def tag_run(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, experiment: Experiment
) -> None:
    """Tag the run with its experiment, for the UI: id, and name and verdict if it has them."""
    manifest, tags = experiment.manifest, {EXPERIMENT_TAG: experiment.id}
    if manifest.name != experiment.id:
        tags[NAME_TAG] = visible(manifest.original_name or manifest.name)
    if decision := experiment.find(DecisionRecord):
        tags[VERDICT_TAG] = str(decision.verdict)
    context.instance.add_run_tags(context.run.run_id, tags)


def visibly(log: Callable[[str], None]) -> ProgressCallback:
    """``log`` for lines that may hold parts of the data: without their control characters."""
    return lambda line: log(visible(line))


@contextmanager
def plain_errors(run: dg.DagsterRun | None = None) -> Iterator[None]:
    """Show an error of this package or of the file system, or an interrupt, without a stack.

    ``run`` is that of an asset, which the command line may have started. The other jobs, which have
    none, run in the UI only.
    """
    # Dagster knows where the UI's own runs come from, and can repeat only these.
    in_ui = run is None or run.remote_job_origin is not None
    try:
        yield
    except (MlrunError, OSError) as error:
        message = for_ui(message_of(error)) if in_ui else message_of(error)
        raise error_without_stack(message, type(error).__name__) from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        how = "Re-execute, From failure" if in_ui else "`mlrun-assets run --resume`"
        raise interrupt_without_stack(f"cancelled; to continue: {how}") from error


# Commands and options that a message may name, and the job, field or menu of the UI in their place.
_UI_NAMES = {
    r"`mlrun-assets run --resume` this experiment": "re-execute the run from failure",
    r"`mlrun-assets run`": "the job `ml_run`",
    r"as in `mlrun-assets compare [^`]*`": "in the field `models`",
    r"`mlrun-assets promote [^`]*`": "the job `promote`",
    r"`mlrun-assets rollback --to (\S+)[^`]*`": r"the job `rollback` to \1",
    r"rollback --to\b": "the job `rollback`",
    r"with --resume\b": "with Re-execute, From failure",
    r"--set ": "overrides: ",
    r"--config\b": "the field `config_file`",
    r"with --(reason|to)\b": r"in the field `\1`",
}


def for_ui(message: str) -> str:
    """``message`` with the names of the UI for what it calls by its name on the command line."""
    for pattern, name in _UI_NAMES.items():
        message = re.sub(pattern, name, message)
    return message


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a stage says it: Dagster's events are dropped."""
    about = getattr(record, "dagster_meta", None) or {}
    # After a failure, Dagster logs skipped assets as plain lines, not as events.
    skipped = str(about.get("orig_message", "")).endswith("Not executing.")
    return about.get("dagster_event") is None and not skipped


class _ToView(logging.Handler):
    """Shows asset and message where progress is shown, else on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        about = getattr(record, "dagster_meta", None) or {}
        view = current_view() or PlainText()
        view.say(about.get("op_name") or "", str(about.get("orig_message", "")))


@dg.logger(
    config_schema={},
    description="The progress of the stages, one line per message, without Dagster's events.",
)
def plain_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger that is not registered, so that no other settings change it."""
    handler = _ToView()
    handler.addFilter(_is_ours)
    logger = logging.Logger("mlrun_assets", level=logging.INFO)
    logger.addHandler(handler)
    return logger
