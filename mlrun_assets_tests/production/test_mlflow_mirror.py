"""What MLflow is told, in a real SQLite store and by a real server in another process."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import ConfigError
from mlrun_assets.experiment import Experiment, all_experiments
from mlrun_assets.orchestration import assets
from mlrun_assets.orchestration.resources import MlRun
from mlrun_assets.production import mlflow_mirror as mirroring
from mlrun_assets.production.mlflow_mirror import check_mlflow, mirror
from mlrun_assets.records import CheckpointRecord, EvaluationRecord, StageRun, Status, Verdict
from mlrun_assets.runs import MADE_FROM
from mlrun_assets.runs.promotion import promote_by_hand, roll_back
from mlrun_assets_tests.examples import deployed, evaluation_record, finished, full_run, project

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

INSTALLED = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not INSTALLED, reason="needs pip install -e '.[mlflow]'")


@pytest.fixture(autouse=True)
def no_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch)


def config_of(home: Path, name: str = "news", **tracking: Any) -> LoadedConfig:
    file = home / "ml_config.yaml"
    file.write_text(json.dumps({"data": {"name": name}, "tracking": tracking}))
    return load_config(file)


def fail(line: str) -> None:
    raise AssertionError(line)


def client_of(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def aliased(client: Any, alias: str) -> str:
    """The experiment of the version that has an alias."""
    return str(client.get_model_version_by_alias("news", alias).tags["mlrun.experiment"])


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_runs_and_the_model_in_a_sqlite_store_beside_the_experiments(tmp_path: Path) -> None:
    config = config_of(tmp_path, mlflow=True)
    check_mlflow(config, fail)
    first = finished(config, "first")
    (first.directory / "report.md").write_text("# The report\n")
    mirror(config, first, fail)
    client = client_of(f"sqlite:///{tmp_path}/experiments/mlflow.db")
    group = client.get_experiment_by_name("news")
    (run,) = client.search_runs([group.experiment_id])
    assert run.info.run_name == "first" and run.info.status == "FINISHED"
    assert run.data.tags["mlrun.report"] == "impl-ml-run-first-20261123"
    assert run.data.tags["mlrun.verdict"] == "APPROVED"
    dataset = full_run().dataset
    assert dataset and run.data.params["train_rows"] == str(dataset.splits["train"].rows_kept)
    metrics, accuracy = run.data.metrics, first.load(EvaluationRecord).test.accuracy
    told = [metrics[f"test_accuracy{end}"] for end in ("", "_low", "_high")]
    assert told == pytest.approx([accuracy.value, accuracy.low, accuracy.high])
    tuned = first.load(CheckpointRecord).fine_tuning
    assert tuned and metrics["training_seconds"] == tuned.seconds
    assert run.data.tags["mlrun.model"] == "encoder+ngrams"
    history = client.get_metric_history(run.info.run_id, "history_val_loss")
    losses = [(epoch.step, epoch.val_loss) for epoch in tuned.history]
    assert [(point.step, point.value) for point in history] == losses
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert files == {"config.yaml", "records", "report.md"}
    assert list((tmp_path / "experiments/mlflow-artifacts").rglob("report.md"))
    assert aliased(client, "challenger") == first.id
    version = client.get_model_version_by_alias("news", "challenger")
    assert version.source == (first.directory / "export").as_uri()
    assert "champion" not in client.get_registered_model("news").aliases

    # Production moves, and back: the champion goes with it, the challenger is the newest run's.
    promote_by_hand(first, config, None, "nobody")
    assert aliased(client, "champion") == first.id
    second = deployed(config, "second")  # before its run was mirrored
    assert (aliased(client, "champion"), aliased(client, "challenger")) == (second.id, first.id)
    mirror(config, second, fail)
    assert (aliased(client, "champion"), aliased(client, "challenger")) == (second.id, second.id)
    roll_back(config, None, "worse", "nobody")
    assert (aliased(client, "champion"), aliased(client, "challenger")) == (first.id, second.id)

    # Once more changes nothing; an evaluation made again replaces what was said.
    mirror(config, second, fail)
    assert len(client.search_runs([group.experiment_id])) == 2
    assert len(client.search_model_versions("name = 'news'")) == 2
    second.save(evaluation_record(accuracy=0.5))
    mirror(config, second, fail)
    (again,) = client.search_runs([group.experiment_id], f"tags.`mlrun.experiment` = '{second.id}'")
    assert again.data.metrics["test_accuracy"] == pytest.approx(0.5)
    assert len(client.get_metric_history(again.info.run_id, "test_accuracy")) == 2
    assert len(client.get_metric_history(again.info.run_id, "history_val_loss")) == len(losses)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_any_character_in_the_name_of_the_data(tmp_path: Path) -> None:
    name = "go'aan \"la'aan\" \\ d''or"
    config = config_of(tmp_path, f"\u202e{name}\x1b", mlflow=True)
    first, second = finished(config, "first"), finished(config, "second")
    for experiment in (first, second, first):
        promote_by_hand(experiment, config, "a test", "nobody")
    client = client_of(f"sqlite:///{tmp_path}/experiments/mlflow.db")
    (model,) = client.search_registered_models()
    versions = client.search_model_versions()
    assert model.name == name and [each.name for each in versions] == [name, name]
    champion = client.get_model_version_by_alias(name, "champion")
    assert champion.tags["mlrun.experiment"] == first.id


# It takes whatever port is free, and says which once it listens there.
SERVER = """
from mlflow.server import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """MLflow's own server, in a process of its own; the package `mlflow` adds only its pages."""
    pytest.importorskip("flask_cors", reason="MLflow's server needs flask-cors")
    settings = {
        "FILE_STORE": f"sqlite:///{tmp_path}/server.db",
        "ARTIFACT_ROOT": "mlflow-artifacts:/",
        "ARTIFACT_DESTINATION": str(tmp_path / "uploaded"),
        "SERVE_ARTIFACTS": "true",
    }
    environment = {f"_MLFLOW_SERVER_{name}": value for name, value in settings.items()}
    environment |= {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", SERVER]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            port = process.stdout.readline().decode().strip()
            assert port, (tmp_path / "server.log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.communicate()


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_a_server_is_given_the_files_themselves(tmp_path: Path, server: str) -> None:
    uri = server.replace("//", "//me:SECRET@")
    config = config_of(tmp_path, mlflow=True, mlflow_uri=uri, registered_model="team/news")
    check_mlflow(config, fail)
    experiment = deployed(config, "first")
    client = client_of(server)
    champion = client.get_model_version_by_alias("team-news", "champion")
    assert champion.tags["mlrun.experiment"] == experiment.id
    assert champion.source.startswith("mlflow-artifacts:/")
    model = list((tmp_path / "uploaded").rglob("model/weights"))
    assert [file.read_text() for file in model] == ["first"]
    assert list((tmp_path / "uploaded").rglob("records/evaluation_metrics.json"))
    files = [
        file for file in tmp_path.rglob("*") if file.is_file() and file.name != "ml_config.yaml"
    ]
    assert not [file for file in files if b"SECRET" in file.read_bytes()]


def test_a_server_that_does_not_answer_costs_a_warning_and_no_run(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        uri = f"http://user:secret@127.0.0.1:{port}"
        config = config_of(tmp_path, mlflow=True, mlflow_uri=uri)
        messages: list[str] = []
        if INSTALLED:
            check_mlflow(config, messages.append)
            assert "the run continues" in messages.pop()
        mirror(config, None, messages.append)
    (message,) = messages
    assert f"MLflow at http://127.0.0.1:{port} was not updated" in message
    assert "Connection refused" in message and "secret" not in message


def test_off_is_off(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    check_mlflow(config, fail)
    mirror(config, Experiment(tmp_path / "nothing"), fail)
    assert not (tmp_path / "experiments").exists()


def test_what_is_missing_is_told_before_anything_long_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if INSTALLED:
        with pytest.raises(ConfigError, match=r"tracking\.mlflow_uri is `mlruns`, which is no URI"):
            check_mlflow(config_of(tmp_path, mlflow=True, mlflow_uri="mlruns"), fail)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mlrun-assets\[mlflow\]'"):
        check_mlflow(config_of(tmp_path, mlflow=True), fail)


def materialize(config: LoadedConfig, asset: dg.AssetsDefinition, **resource: str) -> Any:
    return dg.materialize(
        assets.stages,
        selection=[asset],
        resources={"ml_run": MlRun(config_file=str(config.file), **resource)},
        raise_on_error=False,
    )


def test_a_run_that_can_not_be_mirrored_ends_in_its_first_asset(tmp_path: Path) -> None:
    config = config_of(tmp_path, mlflow=True, mlflow_uri="mlruns")
    assert not materialize(config, assets.experiment).success
    (experiment,) = all_experiments(config.experiments_dir)
    assert experiment.manifest.status is Status.FAILED
    assert str(experiment.manifest.error).startswith("experiment: tracking.mlflow")


def test_a_run_is_mirrored_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, mlflow=True)
    run = full_run()
    assert run.production and run.registry and run.tech_debt
    experiment = finished(
        config, "first", Verdict.APPROVED, run.production, run.registry, run.tech_debt
    )
    experiment.update(stages=dict.fromkeys(MADE_FROM, StageRun(status="done", seconds=1.0)))
    mirrored = []

    def record(_: LoadedConfig, experiment: Experiment, report: Any) -> None:
        mirrored.append((experiment.id, experiment.manifest.closed_by is not None))

    monkeypatch.setattr(mirroring, "mirror", record)
    assert materialize(config, assets.deployment_report, experiment_id=experiment.id).success
    assert mirrored == [(experiment.id, True)]
