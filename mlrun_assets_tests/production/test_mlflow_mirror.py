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
from mlrun_assets.experiment import Experiment, all_experiments, create_experiment
from mlrun_assets.files import digest_directory
from mlrun_assets.orchestration import assets
from mlrun_assets.orchestration.resources import MlRun
from mlrun_assets.production import mlflow_mirror as mirroring
from mlrun_assets.production import promotion as promoting
from mlrun_assets.production.mlflow_mirror import check_mlflow, mirror_production, mirror_run
from mlrun_assets.production.pointer import Reason, promote
from mlrun_assets.production.versions import Challenger
from mlrun_assets.records import Manifest, StageRun, Status
from mlrun_assets.runs import MADE_FROM
from mlrun_assets_tests.examples import (
    checkpoint_record,
    dataset_record,
    evaluation_record,
    export_record,
)

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None,
    reason="MLflow is not installed: pip install -e '.[mlflow]'",
)


def config_of(home: Path, name: str = "news", **tracking: Any) -> LoadedConfig:
    file = home / "ml_config.yaml"
    file.write_text(json.dumps({"data": {"name": name}, "tracking": tracking}))
    return load_config(file)


def finished(config: LoadedConfig, name: str, accuracy: float = 0.9) -> Experiment:
    """An experiment that has exported a model."""
    directory = config.experiments_dir / name
    directory.mkdir(parents=True)
    manifest = Manifest(
        id=name,
        name=f"run-{name}",
        original_name=None,
        report=f"impl-ml-run-{name}-20261123",
        status=Status.COMPLETE,
        created_at="2026-11-23T03:15:00Z",
    )
    experiment = create_experiment(directory, manifest, config)
    (directory / "export").mkdir()
    (directory / "export" / "model.safetensors").write_text(name)
    (directory / "report.md").write_text(f"# The report of {name}\n")
    export = export_record().model_copy(update={"digest": digest_directory(directory / "export")})
    for record in (
        dataset_record({"a": 3, "b": 2}),
        checkpoint_record(),
        evaluation_record(accuracy=accuracy),
        export,
    ):
        experiment.save(record)
    return experiment


def deploy(config: LoadedConfig, experiment: Experiment) -> None:
    model_dir = experiment.directory / "export"
    candidate = Challenger(
        model_dir=model_dir,
        experiment=experiment.id,
        report=experiment.manifest.report,
        digest=digest_directory(model_dir),
        labels=("a", "b"),
        max_length=32,
        accuracy=0.9,
        f1=0.9,
    )
    promote(config.production_dir, candidate, lambda *_: Reason("a test", "nobody"), lambda _: None)


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
def test_runs_and_the_model_in_a_sqlite_store_beside_the_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, mlflow=True)
    check_mlflow(config, fail)
    first = finished(config, "exp_1")
    mirror_run(first, config, fail)
    client = client_of(f"sqlite:///{tmp_path}/experiments/mlflow.db")
    group = client.get_experiment_by_name("news")
    (run,) = client.search_runs([group.experiment_id])
    assert run.info.run_name == "run-exp_1" and run.info.status == "FINISHED"
    assert run.data.tags["mlrun.report"] == "impl-ml-run-exp_1-20261123"
    assert run.data.params["train_rows"] == "5"
    metrics = run.data.metrics
    assert metrics["test_accuracy"] == pytest.approx(0.9)
    assert metrics["test_accuracy_low"] == pytest.approx(0.85)
    assert metrics["test_accuracy_high"] == pytest.approx(0.95)
    history = client.get_metric_history(run.info.run_id, "history_val_loss")
    assert [(point.step, point.value) for point in history] == [(10, 0.5)]
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert files == {"config.yaml", "records", "report.md"}
    assert list((tmp_path / "experiments/mlflow-artifacts").rglob("report.md"))
    assert aliased(client, "challenger") == "exp_1"
    version = client.get_model_version_by_alias("news", "challenger")
    assert version.source == (first.directory / "export").as_uri()
    assert "champion" not in client.get_registered_model("news").aliases

    # Production moves, and back: the champion goes with it, the challenger is the newest run's.
    deploy(config, first)
    mirror_production(config, fail)
    assert aliased(client, "champion") == "exp_1"
    second = finished(config, "exp_2", accuracy=0.95)
    deploy(config, second)
    mirror_run(second, config, fail)
    assert (aliased(client, "champion"), aliased(client, "challenger")) == ("exp_2", "exp_2")
    monkeypatch.setattr(promoting, "probe", lambda _: None)
    promoting.roll_back(config, None, "worse", "nobody")
    assert (aliased(client, "champion"), aliased(client, "challenger")) == ("exp_1", "exp_2")

    # Once more changes nothing; an evaluation made again replaces what was said.
    mirror_run(second, config, fail)
    assert len(client.search_runs([group.experiment_id])) == 2
    assert len(client.search_model_versions("name = 'news'")) == 2
    second.save(evaluation_record(accuracy=0.5))
    mirror_run(second, config, fail)
    again = next(
        run
        for run in client.search_runs([group.experiment_id])
        if run.data.tags["mlrun.experiment"] == "exp_2"
    )
    assert again.data.metrics["test_accuracy"] == pytest.approx(0.5)
    assert len(client.get_metric_history(again.info.run_id, "test_accuracy")) == 2
    assert len(client.get_metric_history(again.info.run_id, "history_val_loss")) == 1

    # A model that was deployed before anything was mirrored.
    third = finished(config, "exp_3")
    deploy(config, third)
    mirror_production(config, fail)
    assert aliased(client, "champion") == "exp_3"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_any_character_in_the_name_of_the_data(tmp_path: Path) -> None:
    name = "go'aan \"la'aan\" \\ d''or"
    config = config_of(tmp_path, name, mlflow=True)
    first, second = finished(config, "exp_1"), finished(config, "exp_2")
    for experiment in (first, second, first):
        deploy(config, experiment)
        mirror_run(experiment, config, fail)
    client = client_of(f"sqlite:///{tmp_path}/experiments/mlflow.db")
    (model,) = client.search_registered_models()
    versions = client.search_model_versions()
    assert model.name == name and {each.name for each in versions} == {name}
    assert len(versions) == 2
    champion = client.get_model_version_by_alias(name, "champion")
    assert champion.tags["mlrun.experiment"] == "exp_1"


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
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path}/server.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(tmp_path / "uploaded"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, (tmp_path / "server.log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.communicate()


@needs_mlflow
@pytest.mark.filterwarnings("default")
def test_a_server_is_given_the_files_themselves(tmp_path: Path, server: str) -> None:
    config = config_of(tmp_path, mlflow=True, mlflow_uri=server, registered_model="team/news")
    check_mlflow(config, fail)
    experiment = finished(config, "exp_1")
    deploy(config, experiment)
    mirror_run(experiment, config, fail)
    client = client_of(server)
    champion = client.get_model_version_by_alias("team-news", "champion")
    assert champion.tags["mlrun.experiment"] == "exp_1"
    assert champion.source.startswith("mlflow-artifacts:/")
    model = list((tmp_path / "uploaded").rglob("model/model.safetensors"))
    assert [file.read_text() for file in model] == ["exp_1"]
    assert list((tmp_path / "uploaded").rglob("records/evaluation_metrics.json"))


def test_a_server_that_does_not_answer_costs_a_warning_and_no_run(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        uri = f"http://user:secret@127.0.0.1:{port}"
        config = config_of(tmp_path, mlflow=True, mlflow_uri=uri)
        messages: list[str] = []
        if importlib.util.find_spec("mlflow"):
            check_mlflow(config, messages.append)
            assert "the run continues" in messages.pop()
        mirror_run(finished(config, "exp_1"), config, messages.append)
        mirror_production(config, messages.append)
    assert len(messages) == 2
    assert f"MLflow at http://127.0.0.1:{port} was not updated" in messages[0]
    assert "Connection refused" in messages[0] and "secret" not in messages[0]


def test_off_is_off(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    check_mlflow(config, fail)
    mirror_run(Experiment(tmp_path / "nothing"), config, fail)
    mirror_production(config, fail)
    assert not (tmp_path / "experiments").exists()


def test_what_is_missing_is_told_before_anything_long_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("mlflow"):
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
    error = experiment.manifest.error or ""
    assert error.startswith("experiment: tracking.mlflow")


def test_a_run_is_mirrored_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, mlflow=True)
    experiment = finished(config, "exp_1")
    done = StageRun(status="done", seconds=1.0)
    experiment.update(stages=dict.fromkeys(MADE_FROM, done))
    mirrored = []

    def mirror(experiment: Experiment, _: LoadedConfig, report: Any) -> None:
        mirrored.append((experiment.id, experiment.manifest.closed_by is not None))

    monkeypatch.setattr(mirroring, "mirror_run", mirror)
    assert materialize(config, assets.deployment_report, experiment_id="exp_1").success
    assert mirrored == [("exp_1", True)]
