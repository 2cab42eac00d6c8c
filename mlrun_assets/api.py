"""The functions of `import mlrun_assets`, for notebooks and other programs.

They do what the commands of the same names do, raise `MlrunError` with the same messages, and
import libraries only when they are called. ``config`` is the path of a config file (None: as for
the command line), and ``overrides`` replaces values of it, as ``--set`` does::

    import mlrun_assets

    run = mlrun_assets.run(name="first", overrides={"training.budget": "fast"})
    print(run.verdict, run.f1)
    model = mlrun_assets.load_model("first")
    for answer in model.predict(["Kooxda kubadda cagta ayaa guulaysatay"]):
        print(answer.label, answer.probability)
"""

from __future__ import annotations

import json
import logging
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun_assets.config import SET_VARIABLE, LoadedConfig, load_config
from mlrun_assets.errors import MlrunError
from mlrun_assets.experiment import Experiment, experiment_of_run, find_experiment
from mlrun_assets.files import locked
from mlrun_assets.records import (
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    Score,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    import dagster as dg

    from mlrun_assets.production.answers import Classifier
    from mlrun_assets.production.compare import ModelComparison
    from mlrun_assets.runs.stage import ResumedRun
    from mlrun_assets.types import Probabilities, ProgressCallback

INTERRUPTS = ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
DAGSTER_YAML = """\
# No telemetry, no questions to new users, no debug lines on the terminal.
telemetry:
  enabled: false
nux:
  enabled: false
python_logs:
  python_log_level: INFO
# Ctrl-C ends the run, not the processes that show its output.
compute_logs:
  module: mlrun_assets.orchestration.dagster_internals
  class: InterruptSafeLogManager
"""

ConfigFile = Path | str | None
Overrides = Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """An experiment, and what was found in it; what is not known is None."""

    experiment: Experiment

    @property
    def id(self) -> str:
        return self.experiment.id

    @property
    def directory(self) -> Path:
        return self.experiment.directory

    @property
    def status(self) -> str:
        """`Complete`, `Blocked`, `Failed`, `Cancelled` or `Running`.

        `Interrupted` or `Partial`: the run was killed before its end.
        """
        return str(self.experiment.manifest.status)

    @property
    def dataset(self) -> DatasetRecord | None:
        """The splits and their checks."""
        return self.experiment.find(DatasetRecord)

    @property
    def evaluation(self) -> EvaluationRecord | None:
        """All scores on the test split, with their intervals."""
        return self.experiment.find(EvaluationRecord)

    @property
    def decision(self) -> DecisionRecord | None:
        """The verdict, its rules and the next steps."""
        return self.experiment.find(DecisionRecord)

    @property
    def verdict(self) -> Verdict | None:
        return self.decision.verdict if self.decision else None

    @property
    def f1(self) -> Score | None:
        """The F1 of the test split that the rules look at: value, low and high."""
        return self.evaluation.f1 if self.evaluation else None

    @property
    def report(self) -> str:
        """The report, as Markdown; it exists when the run has ended."""
        return self.experiment.paths.report.read_text(encoding="utf-8")

    def _repr_markdown_(self) -> str:
        return self.report  # Jupyter shows it


@dataclass(frozen=True)
class Answer:
    """The label of a text, and its probability.

    ``accepted`` is whether it reaches the confidence threshold; None if the model has none.
    """

    label: str
    probability: float
    accepted: bool | None


@dataclass(frozen=True)
class Model:
    """A model that was loaded by `load_model`."""

    classifier: Classifier
    language: str

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probabilities of shape (texts, labels), in the order of ``labels``."""
        from mlrun_assets.data.text import language_profile, normalise

        steps = language_profile(self.language).steps
        return self.classifier.probabilities([normalise(text, steps).text for text in texts])

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """The label of each text.

        Raises:
            TypeError: ``texts`` is one text.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts: predict([text])")
        if not texts:
            return []
        probabilities, threshold = self.probabilities(texts), self.classifier.accept_confidence
        return [
            Answer(
                self.labels[row.argmax()],
                float(row.max()),
                None if threshold is None else bool(row.max() >= threshold),
            )
            for row in probabilities
        ]


def run(
    config: ConfigFile = None, name: str | None = None, *, overrides: Overrides | None = None
) -> Run:
    """Run everything in a new experiment, from data to the report; prints a line for each stage.

    A run that the data blocks, or that fails, is a result too: see ``status`` and ``report``.

    Raises:
        ConfigError: the config has mistakes.
        MlrunError: the run failed before it had an experiment, for example without its data.
    """
    from mlrun_assets.progress import PlainText, shown_by

    with _overridden(overrides), shown_by(PlainText()):
        return Run(execute(load_config(config), name))


def check_data(config: ConfigFile = None, *, overrides: Overrides | None = None) -> DatasetRecord:
    """Check the data without a run; ``ready`` says whether a run would train on it.

    If the encoder can't be loaded, a warning is given, and the checks of text lengths are off.

    Raises:
        DataError: a file is missing or can't be read.
    """
    from mlrun_assets.data.validation import check_files
    from mlrun_assets.files import temporary_directory

    loaded = _load(config, overrides)
    with temporary_directory("check-data") as directory:
        return check_files(loaded, directory, lambda line: warnings.warn(line, stacklevel=4))


def load_experiment(
    name: str, config: ConfigFile = None, *, overrides: Overrides | None = None
) -> Run:
    """An experiment, by its name or id.

    Raises:
        ExperimentError: there is none.
    """
    return Run(find_experiment(_load(config, overrides).experiments_dir, name))


def load_model(
    name: str | None = None, config: ConfigFile = None, *, overrides: Overrides | None = None
) -> Model:
    """The model of a version or an experiment, by its name or id; by default that in production.

    Its probabilities are computed in float32.

    Raises:
        ExperimentError: there is no such version or experiment.
        ProductionError: it has no model, or the files of the model have changed.
    """
    from mlrun_assets.production.prediction import load_classifier, model_to_ask

    loaded = _load(config, overrides)
    model = model_to_ask(loaded, name)
    language = model.data(loaded.settings.data).language
    return Model(load_classifier(model, exact=True), language)


def compare(
    *names: str, config: ConfigFile = None, overrides: Overrides | None = None
) -> ModelComparison:
    """Models side by side, with paired tests; with one name, production and that model.

    Raises:
        ExperimentError: a model can't be found.
        ProductionError: production is to be compared, and nothing is in production.
    """
    from mlrun_assets.production.compare import side_by_side

    return side_by_side(_load(config, overrides), names)


@contextmanager
def _overridden(overrides: Overrides | None) -> Iterator[None]:
    """Set ``MLRUN_SET`` for the block: Dagster's resource loads the config too."""
    lines = [f"{key}={json.dumps(value, default=str)}" for key, value in (overrides or {}).items()]
    with _variable(SET_VARIABLE, "\n".join(filter(None, [os.environ.get(SET_VARIABLE), *lines]))):
        yield


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the block; an empty value changes nothing."""
    before = os.environ.get(name)
    if value:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value:
            os.environ.pop(name, None)


def _load(config: ConfigFile, overrides: Overrides | None) -> LoadedConfig:
    with _overridden(overrides):
        return load_config(config)


# How a run is executed, in this process


def execute(
    config: LoadedConfig,
    name: str | None,
    resumed: ResumedRun | None = None,
    progress: ProgressCallback = lambda _: None,
) -> Experiment:
    """Run the graph in a new experiment, or the stages that are left in a resumed one.

    ``progress`` gets the lines of a run that Dagster ended between two assets.

    Raises:
        MlrunError: the run failed before it had an experiment, or its end can't be recorded.
        KeyboardInterrupt: the run was cancelled before it had an experiment.
    """
    with _variable("DAGSTER_HOME", str(dagster_home(config))):
        result = _executed(config, name, resumed)
    return _closed(config, result, progress)


def _executed(
    config: LoadedConfig, name: str | None, resumed: ResumedRun | None
) -> dg.ExecuteInProcessResult:
    import dagster as dg

    from mlrun_assets.definitions import defs

    resource = {"config_file": str(config.file)} if config.file else {}
    ops: dict[str, object] = {"experiment": {"config": {"name": name} if name else {}}}
    selection = None
    if resumed:
        resource["experiment_id"], ops = resumed.experiment.id, {}
        selection = [dg.AssetKey(stage) for stage in resumed.stages]
    run_id = str(uuid.uuid4())
    with _dagster_instance() as instance:
        try:
            result = defs.resolve_job_def("ml_run").execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=selection,
                run_id=run_id,
                run_config={
                    "ops": ops,
                    "resources": {"ml_run": {"config": resource}},
                    "loggers": {"plain": {}},
                },
            )
        except KeyboardInterrupt:  # in Dagster's history it would never end
            run = instance.get_run_by_id(run_id)
            if run and not run.is_finished:
                instance.report_run_canceled(run, "cancelled")
            raise
        if _was_cancelled(result):  # not from the UI, so Dagster's history calls it a failure
            instance.report_run_canceled(result.dagster_run, "cancelled")
        return result


@contextmanager
def _dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance, with its history in DAGSTER_HOME; `MlrunError` if that can't be kept."""
    import dagster as dg
    from sqlalchemy.exc import DBAPIError

    from mlrun_assets.orchestration.dagster_internals import interrupts_blocked

    home = Path(os.environ["DAGSTER_HOME"])
    try:
        # Two processes that create the same history at once corrupt it.
        with locked(home / "history"), interrupts_blocked():
            instance = dg.DagsterInstance.get()
        # A signal that arrives while SQLAlchemy closes a connection is raised again, and would be
        # logged there with a traceback first.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        with instance:
            yield instance
    except DBAPIError as error:
        raise MlrunError(
            f"{home}: Dagster's history can't be kept here: {error.orig}; make room, or export "
            "DAGSTER_HOME as the absolute path of another directory; a run that has started can be "
            "resumed with `mlrun-assets run --resume`"
        ) from None


def _closed(
    config: LoadedConfig, result: dg.ExecuteInProcessResult, progress: ProgressCallback
) -> Experiment:
    """The experiment of a run that has ended; errors as in `execute`.

    Dagster delays a Ctrl-C between two assets until the next asset starts, outside its stage; the
    experiment is then closed here.
    """
    from mlrun_assets.runs.stage import Stage, close_after_error

    experiment = experiment_of_run(config.experiments_dir, result.run_id)
    errors, cancelled = list(_errors(result)), _was_cancelled(result)
    if experiment is None and cancelled:
        raise KeyboardInterrupt
    why = errors[0][1].strip() if errors else "the run ended before its first asset"
    if experiment is None:
        raise MlrunError(why)
    if experiment.manifest.status is Status.RUNNING:
        status = Status.CANCELLED if cancelled else Status.FAILED
        stage = Stage(experiment, experiment.config(config), result.run_id, progress)
        close_after_error(stage, status, "cancelled between two assets" if cancelled else why)
    if experiment.manifest.status is Status.RUNNING:
        raise MlrunError(why)
    return experiment


def dagster_home(config: LoadedConfig) -> Path:
    """DAGSTER_HOME if it is set, else ``.dagster`` beside the config, which is created."""
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        if Path(chosen).is_absolute() and Path(chosen).is_dir():
            return Path(chosen)
        raise MlrunError(
            f"DAGSTER_HOME is {chosen}: export the absolute path of a directory that exists, or "
            "unset it"
        )
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
    return home


def _was_cancelled(result: dg.ExecuteInProcessResult) -> bool:
    return any(kind in INTERRUPTS for kind, _ in _errors(result))


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str | None, str]]:
    """Class and message of the error of each failed step, then of the run.

    Dagster wraps an error in others; this is the innermost.
    """
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    errors += [event.job_failure_data.error for event in result.all_events if event.is_job_failure]
    for error in filter(None, errors):
        while error.cause:
            error = error.cause  # noqa: PLW2901
        yield error.cls_name, error.message
