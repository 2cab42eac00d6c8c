"""Which model is pushed, and that it is what was recorded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError, PublishError
from mlrun_assets.files import digest_directory
from mlrun_assets.production.promotion import promote_by_hand
from mlrun_assets.production.publishing import push
from mlrun_assets_tests.examples import finished, project
from mlrun_assets_tests.production.hub_stand_in import local_hub


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


def pushed(config: LoadedConfig, name: str | None = None) -> Path:
    target = config.directory / "out"
    assert push(config, str(target), name, public=False) == str(target)
    return target


def test_what_serves_is_pushed_as_it_is(config: LoadedConfig) -> None:
    promote_by_hand(finished(config, "first"), config, None, "Hodan")
    out = pushed(config)
    assert digest_directory(out) == digest_directory(config.production_dir / "current")


def test_an_experiment_is_pushed_with_a_card_and_without_its_records(config: LoadedConfig) -> None:
    experiment = finished(config, "first")
    out = pushed(config, "first")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "config.json", "weights"]
    assert f"Experiment `{experiment.id}`" in (out / "README.md").read_text(encoding="utf-8")


def test_a_version_without_a_card_gets_that_of_its_experiment(config: LoadedConfig) -> None:
    experiment = finished(config, "first")
    promote_by_hand(experiment, config, None, "Hodan")
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
    assert sorted(path.name for path in pushed(config).iterdir()) == ["config.json", "weights"]


def test_files_that_were_changed_are_not_pushed(config: LoadedConfig) -> None:
    experiment = finished(config, "first")
    promote_by_hand(experiment, config, None, "Hodan")
    weights = (config.production_dir / "current" / "weights").resolve()
    weights.unlink()
    weights.write_text("tampered")
    (experiment.directory / "export" / "weights").write_text("tampered")
    for name in (None, "first"):
        with pytest.raises(ProductionError, match="not those that were recorded"):
            push(config, str(config.directory / "out"), name, public=False)
    assert not (config.directory / "out").exists()


def test_nothing_to_push_is_one_message(config: LoadedConfig) -> None:
    with pytest.raises(PublishError, match="nothing is in production; name an experiment"):
        push(config, "./out", None, public=False)
    with pytest.raises(ExperimentError, match="no experiment `nobody`"):
        push(config, "./out", "nobody", public=False)


def test_the_command_asks_the_hub_that_the_environment_names(config: LoadedConfig) -> None:
    finished(config, "first")
    command = [
        sys.executable,
        "-m",
        "mlrun_assets.cli",
        "push",
        "hodan/news",
        "--version",
        "first",
    ]
    with local_hub() as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "a-token", "HF_HUB_OFFLINE": "0"}
        result = subprocess.run(
            command,
            cwd=config.directory,
            env={**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{hub.url}/hodan/news/commit/1\n"
        repository = hub.repositories["hodan/news"]
    assert repository.private
    assert set(repository.files) == {"README.md", "config.json", "weights"}
    assert "a-token" not in result.stdout + result.stderr
