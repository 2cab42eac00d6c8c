"""Optional: copy runs and the model in production to MLflow.

The records of this package are authoritative and MLflow holds a copy. A failure of MLflow is
reported and never stops a run or a move of production; the next copy corrects it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ConfigError, MlrunError, cause_of, public_name
from mlrun_assets.experiment import Experiment, find_experiment
from mlrun_assets.markdown import clean
from mlrun_assets.production.pointer import read_production
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    Record,
    TrainingPlan,
)
from mlrun_assets.registries.registry import report_file
from mlrun_assets.types import ProgressCallback

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

VALUE_CHARACTERS = 500  # MLflow truncates longer values
EXPERIMENT_TAG = "mlrun.experiment"
STORE_FILE, ARTEFACTS_DIR = "mlflow.db", "mlflow-artifacts"
REACH_SECONDS = 5
# Set before MLflow is imported: no telemetry.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# Defaults, which users may override: only warnings, and no retries for minutes.
_PATIENCE = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
# Prefix of the metric, record, and its field with scores.
_SCORES: tuple[tuple[str, type[Record], str], ...] = (
    ("test", EvaluationRecord, "test"),
    ("val", EvaluationRecord, "val"),
    ("baseline_test", BaselineRecord, "linear"),
)
_HISTORY = ("train_loss", "val_loss", "val_accuracy", "val_f1_macro")
_warn = logging.getLogger(__name__).warning


def check_mlflow(config: LoadedConfig, progress: ProgressCallback) -> None:
    """Check, before a run starts, that it can be copied to MLflow, if `tracking.mlflow` is on.

    A server that does not answer is only reported: it may answer at the end of the run.

    Raises:
        ConfigError: MLflow is not installed, or the URI is not valid.
    """
    if not config.settings.tracking.mlflow:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "tracking.mlflow is on, and MLflow is not installed: pip install "
            "'mlrun-assets[mlflow]', or turn it off"
        )
    uri = store_uri(config)
    if "://" not in uri:
        raise ConfigError(
            f"tracking.mlflow_uri is `{public_name(uri)}`, which is no URI: write "
            "http://host:5000, sqlite:////path/to/mlflow.db, or leave it out"
        )
    if why := _unreachable(uri):
        progress(
            f"MLflow can't be reached now ({why}); the run continues and tries again at its end"
        )


def mirror(
    config: LoadedConfig, experiment: Experiment | None = None, progress: ProgressCallback = _warn
) -> None:
    """Set the alias `champion` to the model in production, if `tracking.mlflow` is on.

    The run of ``experiment`` is copied first; its exported model becomes the challenger.
    """
    if not config.settings.tracking.mlflow:
        return
    uri = config.settings.tracking.mlflow_uri or STORE_FILE
    try:
        uri = store_uri(config)
        if why := _unreachable(uri):
            raise MlrunError(why)
        os.environ.update(_QUIET)
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        config.experiments_dir.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if experiment and (version := _register(client, experiment, config)):
            client.set_registered_model_alias(version.name, "challenger", version.version)
        _move_champion(client, config)
    except Exception as error:  # noqa: BLE001 - no error of a store may stop a run
        lines = cause_of(error).strip().splitlines() or [type(error).__name__]
        progress(
            f"MLflow at {public_name(uri)} was not updated: {lines[0]}; nothing is lost here: "
            "materialize deployment_report again, or promote, to mirror it later"
        )


def store_uri(config: LoadedConfig) -> str:
    """The server or store that the config names, else a SQLite file beside the experiments."""
    own = f"sqlite:///{(config.experiments_dir / STORE_FILE).as_posix()}"
    return config.reveal(config.settings.tracking.mlflow_uri or own)


def model_name(config: LoadedConfig) -> str:
    """The registered model, and the MLflow experiment: MLflow allows neither ``/`` nor ``:``."""
    from mlrun_assets.data.validation import data_name

    name = config.settings.tracking.registered_model or data_name(config)
    return clean(name).replace("/", "-").replace(":", "-")


def _unreachable(uri: str) -> str | None:
    """Why the server does not answer; None if it answers or ``uri`` is no server."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), REACH_SECONDS).close()
    except OSError as error:
        return f"{public_name(uri)}: {error.strerror or error}"
    return None


def _register(
    client: MlflowClient, experiment: Experiment, config: LoadedConfig
) -> ModelVersion | None:
    """Copy a run and register its exported model; None without an export."""
    from mlflow.exceptions import MlflowException

    name = model_name(config)
    run = _copy_run(client, experiment, config)
    export = experiment.find(ExportRecord)
    if export is None:
        return None
    known = _version_of(client, name, experiment.id, export.digest)
    if known:
        return known
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_dir = experiment.directory / export.model_dir
    source = model_dir.as_uri()
    if store_uri(config).startswith("http"):  # a server accepts only uploaded files
        client.log_artifacts(run.info.run_id, str(model_dir), "model")
        source = f"{run.info.artifact_uri}/model"
    tags = {EXPERIMENT_TAG: experiment.id, "mlrun.digest": export.digest}
    return client.create_model_version(name, source, run.info.run_id, tags=tags)


def _version_of(
    client: MlflowClient, name: str, experiment: str, digest: str
) -> ModelVersion | None:
    """The newest MLflow version of the model of an experiment.

    It is found by its tag, because MLflow can't filter by a name with both kinds of quotes.
    """
    found = [
        version
        for version in client.search_model_versions(f"tags.`{EXPERIMENT_TAG}` = '{experiment}'")
        if version.name == name and digest == version.tags.get("mlrun.digest")
    ]
    return max(found, key=lambda version: int(version.version), default=None)


def _move_champion(client: MlflowClient, config: LoadedConfig) -> None:
    """Set the alias to the model in production, and register that model first if needed.

    Raises:
        MlrunError: the model is not registered and its experiment is gone.
    """
    champion = read_production(config.production_dir)
    if champion is None:
        return
    version = _version_of(client, model_name(config), champion.experiment, champion.exported)
    if version is None:
        experiment = find_experiment(config.experiments_dir, champion.experiment)
        version = _register(client, experiment, config)
    if version:
        client.set_registered_model_alias(version.name, "champion", version.version)


def _copy_run(client: MlflowClient, experiment: Experiment, config: LoadedConfig) -> Run:
    """Update the MLflow run of an experiment; changed parameters make a new run."""
    from mlflow.entities import Param, RunTag

    manifest, decision = experiment.manifest, experiment.find(DecisionRecord)
    params, tags = _params(experiment), {EXPERIMENT_TAG: experiment.id}
    tags |= {"mlrun.report": manifest.report, "mlrun.status": str(manifest.status)}
    if decision:
        tags["mlrun.verdict"] = str(decision.verdict)
    if checkpoint := experiment.find(CheckpointRecord):
        tags["mlrun.model"] = checkpoint.chosen
    group = _experiment_id(client, config)
    known = client.search_runs([group], f"tags.`{EXPERIMENT_TAG}` = '{experiment.id}'")
    run = next((run for run in known if run.data.params == params), None)
    fresh = run is None
    if run is None:
        run = client.create_run(group, tags=tags, run_name=manifest.name)
    client.log_batch(
        run.info.run_id,
        _metrics(experiment, run.data.metrics),
        [Param(*each) for each in params.items() if fresh],
        [RunTag(*each) for each in tags.items()],
    )
    page = report_file(config.reports_dir, manifest.report).with_suffix(".html")
    for file in (experiment.paths.report, page, experiment.paths.config):
        if file.is_file():
            client.log_artifact(run.info.run_id, str(file))
    for folder in (experiment.paths.records, experiment.paths.plots):
        for file in sorted(folder.glob("*.*")):
            client.log_artifact(run.info.run_id, str(file), folder.name)
    client.set_terminated(run.info.run_id)
    return run


def _experiment_id(client: MlflowClient, config: LoadedConfig) -> str:
    """The MLflow experiment of the data, created if it is missing."""
    name = model_name(config)
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    server = store_uri(config).startswith("http")
    artefacts = None if server else (config.experiments_dir / ARTEFACTS_DIR).as_uri()
    return str(client.create_experiment(name, artefacts))


def _params(experiment: Experiment) -> dict[str, str]:
    """The recipe and the data of the run."""
    params: dict[str, object] = {}
    plan, dataset = experiment.find(TrainingPlan), experiment.find(DatasetRecord)
    if plan:
        params |= plan.recipe.model_dump() | {"recipe_digest": plan.recipe_digest}
        params["seeds"] = [recipe.seed for recipe in plan.recipes]
    if dataset:
        params |= {"data": dataset.name, "data_digest": dataset.digest}
        params |= {f"{name}_rows": split.rows_kept for name, split in dataset.splits.items()}
    return {name: clean(str(value), VALUE_CHARACTERS) for name, value in params.items()}


def _metrics(experiment: Experiment, logged: Mapping[str, float]) -> list[Metric]:
    """Scores, costs of training and export, and the training history by step.

    Metrics that MLflow has ``logged`` with the same value are left out, and so is a history that
    it has logged.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(name, float(value), now, 0)
        for name, value in _numbers(experiment)
        if logged.get(name) != value
    ]
    checkpoint = experiment.find(CheckpointRecord)
    tuned = checkpoint and checkpoint.fine_tuning
    for epoch in tuned.history if tuned else ():
        for name in _HISTORY:
            value = getattr(epoch, name)
            if value is not None and f"history_{name}" not in logged:
                points.append(Metric(f"history_{name}", float(value), now, epoch.step))
    return points


def _numbers(experiment: Experiment) -> Iterator[tuple[str, float]]:
    for prefix, kind, field in _SCORES:
        if record := experiment.find(kind):
            scores = getattr(record, field)
            for name in ("accuracy", "f1_macro", "f1_weighted"):
                score = getattr(scores, name)
                yield f"{prefix}_{name}", score.value
                yield f"{prefix}_{name}_low", score.low
                yield f"{prefix}_{name}_high", score.high
            yield f"{prefix}_mcc", scores.mcc
    if evaluation := experiment.find(EvaluationRecord):
        yield "test_calibration_error", evaluation.calibration.error
    if checkpoint := experiment.find(CheckpointRecord):
        yield "chosen_f1_macro", checkpoint.winner.f1_macro.value
        if tuned := checkpoint.fine_tuning:
            for name in ("seconds", "tokens_per_second", "peak_memory_mb"):
                yield f"training_{name}", getattr(tuned, name)
    if export := experiment.find(ExportRecord):
        for name in ("agreement", "size_bytes", "latency_ms_p95"):
            yield f"export_{name}", getattr(export, name)
