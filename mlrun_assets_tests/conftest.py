"""Fixtures on the example records and data of `examples`: no network, no download."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.models import probe
from mlrun_assets_tests.examples import (
    ROOT,
    SHARED,
    MakeProject,
    answer_here,
    answer_in_a_fork,
    build_encoder,
    write_project,
)

gc.disable()  # until the tests are imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# transformers imports the code of a model from one directory, which it reads from here once. Each
# process has its own, outside the home of the person running the tests.
_model_code = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = _model_code.name
# Under nohup or in the background, the commands that tests start would ignore a hang-up or Ctrl-C,
# as they should. Dagster has SIGTERM do what SIGINT does: its processes would wait 30 s for an end.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason to fail, and no run draws examples that nobody has seen before. New
# ones are looked for with --hypothesis-profile=new_examples.
settings.register_profile(
    "new_examples", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("same_examples", settings.get_profile("new_examples"), derandomize=True)
settings.load_profile("same_examples")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests come first, so that two workers end at the same time."""
    gc.freeze()  # the collector need not look at a million imported objects again and again
    gc.enable()
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no config, experiment or history that the person running them has set."""
    ours = (
        "MLRUN_CONFIG",
        "MLRUN_EXPERIMENT",
        "MLRUN_SET",
        "DAGSTER_HOME",
        "HF_TOKEN",
    )
    for name in ours:
        monkeypatch.setenv(name, "")  # so that what a command sets is undone too
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of published corpora beside the project; tests that need it skip without."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED / 'data'} is not there (MLRUN_SHARED names another place)")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a Unigram tokenizer, as a plain transformers directory."""
    return build_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncoderSource]:
    """The real embedded encoder; unpacking it takes some seconds and 500 MB."""
    cache = tmp_path_factory.mktemp("cache")
    yield resolve_encoder("embedded:multilingual-e5-small", None, cache, cache)
    shutil.rmtree(cache)  # pytest would keep it, for three sessions


@pytest.fixture
def make_project(tmp_path: Path, tiny_encoder: Path) -> MakeProject:
    """Makes a directory with a config and a part of the sample; returns the config file."""
    return functools.partial(write_project, tmp_path, tiny_encoder)


@pytest.fixture
def probed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported models are loaded in this process: a fresh one takes seconds to import torch."""
    monkeypatch.setattr(probe, "_probe", answer_here)
    monkeypatch.setattr(probe, "start_early", lambda: None)


@pytest.fixture
def probed_in_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported models are loaded in processes of their own that have imported torch before."""
    monkeypatch.setattr(probe, "_probe", answer_in_a_fork)
    monkeypatch.setattr(probe, "start_early", lambda: None)


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster instance of its own for one test."""
    home = tmp_path / ".dagster"
    home.mkdir()
    shutil.copy(ROOT / ".dagster" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home
