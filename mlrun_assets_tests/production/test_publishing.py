"""Which model is pushed, that it is what was recorded, and what a directory and the Hub get."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError, PublishError
from mlrun_assets.files import digest_directory
from mlrun_assets.production.publishing import PushedModel, publish, push
from mlrun_assets_tests.examples import deployed, finished, project
from mlrun_assets_tests.production.hub_stand_in import Hub, Repository, local_hub

# The library's own, in the part that sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = "---\nlicense: mit\n---\n\n# A model\n"
EXPECTED = {
    "weights": b"w" * 2000,
    "config.json": b"{}",
    "onnx/model.onnx": b"o",
    "README.md": CARD.encode(),
}
NEWS = "hodan/news"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> PushedModel:
    directory = tmp_path / "versions" / "exp_1" / "model"
    (directory / "onnx").mkdir(parents=True)
    for name in ("weights", "config.json", "onnx/model.onnx"):
        (directory / name).write_bytes(EXPECTED[name])
        (directory / name).chmod(0o444)
    return PushedModel("exp_1", directory, CARD)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in knows LFS
        monkeypatch.setenv("HF_TOKEN", "a-token")
        yield hub


def pushed(config: LoadedConfig, name: str | None = None) -> Path:
    target = config.directory / "out"
    assert push(config, str(target), name, public=False) == str(target)
    return target


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_what_serves_is_pushed_as_it_is(config: LoadedConfig) -> None:
    deployed(config, "first")
    assert files(pushed(config)) == files(config.production_dir / "current")


def test_an_experiment_is_pushed_with_a_card_and_without_its_records(config: LoadedConfig) -> None:
    experiment = finished(config, "first")
    sent = files(pushed(config, "first"))
    assert sent.keys() == {"README.md", "config.json", "weights"}
    assert f"Experiment `{experiment.id}`" in sent["README.md"].decode()


def test_a_version_without_a_card_gets_that_of_its_experiment(config: LoadedConfig) -> None:
    experiment = deployed(config, "first")
    model_dir = (config.production_dir / "current").resolve()
    (model_dir / "README.md").unlink()
    record = model_dir.parent / "version.json"
    facts = json.loads(record.read_text())
    facts |= {"digest": digest_directory(model_dir), "export_digest": None}
    record.write_text(json.dumps(facts))
    out = pushed(config)
    assert f"Experiment `{experiment.id}`" in (out / "README.md").read_text(encoding="utf-8")
    shutil.rmtree(out)
    shutil.rmtree(experiment.directory)
    assert files(pushed(config)).keys() == {"config.json", "weights"}


def test_files_that_were_changed_are_not_pushed(config: LoadedConfig) -> None:
    experiment = deployed(config, "first")
    weights = (config.production_dir / "current" / "weights").resolve()
    weights.unlink()
    weights.write_text("tampered")
    (experiment.directory / "export" / "weights").write_text("tampered")
    for name in (None, "first"):
        with pytest.raises(ProductionError, match="not those that were recorded"):
            pushed(config, name)
    assert not (config.directory / "out").exists()


def test_nothing_to_push_is_one_message(config: LoadedConfig) -> None:
    with pytest.raises(PublishError, match="nothing is in production; name an experiment"):
        pushed(config)
    with pytest.raises(ExperimentError, match="no experiment `nobody`"):
        pushed(config, "nobody")


def test_the_command_asks_the_hub_that_the_environment_names(config: LoadedConfig) -> None:
    finished(config, "first")
    command = [sys.executable, "-m", "mlrun_assets.cli", "push", NEWS, "--version", "first"]
    with local_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "a-token", "HF_HUB_OFFLINE": "0"}
        environment = {**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"}
        where = {"cwd": config.directory, "env": environment}
        result = subprocess.run(command, **where, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{hub.url}/hodan/news/commit/1\n"
        repository = hub.repositories[NEWS]
    assert repository.private and repository.files.keys() == {"README.md", "config.json", "weights"}
    assert "a-token" not in result.stdout + result.stderr


def test_a_directory_gets_the_files_and_the_card(
    model: PushedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "new" / "model"
    assert publish(model, str(target), public=False) == str(target)
    assert files(target) == EXPECTED
    assert os.access(target / "weights", os.W_OK)
    # An empty one is taken by a bare name too, which could be that of a repository.
    monkeypatch.chdir(tmp_path)
    (tmp_path / NEWS).mkdir(parents=True)
    publish(model, NEWS, public=False)
    assert files(tmp_path / NEWS) == EXPECTED


def test_a_target_that_is_not_an_empty_directory_is_left_alone(
    model: PushedModel, tmp_path: Path
) -> None:
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    for target in (full, file):
        with pytest.raises(PublishError, match="is not an empty directory"):
            publish(model, str(target), public=False)
    assert files(full) == {"mine": b"mine"} and file.read_text() == "mine"
    with pytest.raises(PublishError, match="can't be written there"):
        publish(model, str(file / "below"), public=False)
    # One that can't be filled is not there afterwards.
    (model.model_dir / "gone").symlink_to("nowhere")
    with pytest.raises(PublishError, match="can't be written there"):
        publish(model, str(tmp_path / "out" / "model"), public=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_repository_is_private_unless_it_is_said_to_be_public(
    model: PushedModel, hub: Hub
) -> None:
    assert publish(model, NEWS, public=False) == f"{hub.url}/hodan/news/commit/1"
    assert hub.repositories[NEWS] == Repository(private=True, files=EXPECTED)
    assert {token for method, _, token in hub.requests if method != "PUT"} == {"a-token"}
    publish(model, "hodan/all", public=True)
    assert hub.repositories["hodan/all"].private is False
    with pytest.raises(PublishError, match="exists and is public; add --public"):
        publish(model, "hodan/all", public=False)


def test_nothing_of_an_older_model_stays_in_a_repository(model: PushedModel, hub: Hub) -> None:
    old: dict[str, bytes] = {
        "onnx/ngrams/model.json": b"old",
        ".gitattributes": b"*",
        "weights": b"",
    }
    hub.repositories[NEWS] = Repository(private=True, files=old)
    publish(model, NEWS, public=False)
    assert hub.repositories[NEWS].files == {**EXPECTED, ".gitattributes": b"*"}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", r"hodan/news: .* export HF_TOKEN"),
        ("another", r"does not know the token in HF_TOKEN.*\(401\)"),
    ],
)
def test_a_token_that_is_missing_or_not_known(
    model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PublishError, match=said) as error:
        publish(model, NEWS, public=False)
    assert "another" not in str(error.value)
    assert bool(hub.requests) == bool(token)


@pytest.mark.parametrize("existing", [False, True])
def test_a_token_that_may_not_write_there(model: PushedModel, hub: Hub, existing: bool) -> None:
    if existing:
        hub.repositories[NEWS] = Repository(private=True)
    hub.refuse = 403
    with pytest.raises(PublishError, match=r"hodan/news: not pushed: the token may not.*\(403\)"):
        publish(model, NEWS, public=False)


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_can_not_be_reached(
    model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    from huggingface_hub import constants

    said = "HF_HUB_OFFLINE" if offline else r"the Hub can't be reached .*HF_ENDPOINT"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(PublishError, match=said):
            publish(model, NEWS, public=False)


@pytest.mark.parametrize("name", ["news", "a/b/c", "hodan/ne ws", "hodan/--x", "", "hodan/a.git"])
def test_a_name_that_is_none(model: PushedModel, hub: Hub, name: str) -> None:
    with pytest.raises(PublishError, match="neither a repository of the Hub"):
        publish(model, name, public=False)
    assert hub.requests == []
