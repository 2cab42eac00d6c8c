"""The functions of `import mlrun_assets`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

import mlrun_assets
from mlrun_assets.config import SET_VARIABLE
from mlrun_assets.errors import ConfigError, ExperimentError, ProductionError
from mlrun_assets.records import Verdict
from mlrun_assets_tests.examples import WORD_LABELS, sample_rows, serve_words, write_project


def test_importing_the_package_imports_nothing_of_it_but_what_settles_libraries() -> None:
    code = "import sys, mlrun_assets; mlrun_assets.__version__; print(*sorted(sys.modules))"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "mlrun_assets.api" not in modules
    assert not {"pydantic", "click", "dagster", "torch", "numpy"} & set(modules)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        mlrun_assets.train  # noqa: B018


def test_all_names_exist() -> None:
    assert all(getattr(mlrun_assets, name) for name in mlrun_assets.__all__)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return serve_words(tmp_path_factory.mktemp("words"), tiny_encoder)


def test_a_model_labels_texts_in_the_form_that_it_learned(words: Path) -> None:
    model = mlrun_assets.load_model(config=words)
    assert model.labels == WORD_LABELS
    answers = model.predict(["waa gool", "waa  go\u200bol", "beer"])
    assert [answer.label for answer in answers] == ["sports", "sports", "farming"]
    assert answers[0] == answers[1] and 0.5 < answers[0].probability < 1
    assert answers[0].accepted is None
    assert model.predict([]) == []
    np.testing.assert_allclose(model.probabilities(["beer"]).sum(), 1.0)
    with pytest.raises(TypeError, match="list of texts"):
        model.predict("beer")


def test_mistakes_have_the_errors_of_the_command_line(words: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        mlrun_assets.load_model(config=tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="epochz"):
        mlrun_assets.load_experiment("x", words, overrides={"training.epochz": 2})
    with pytest.raises(ExperimentError, match="no experiment"):
        mlrun_assets.load_experiment("x", words, overrides={"reports.dir": tmp_path})
    with pytest.raises(ProductionError):
        mlrun_assets.compare(config=words)
    assert SET_VARIABLE not in os.environ


def test_data_is_checked_also_without_the_encoder(tmp_path: Path, tiny_encoder: Path) -> None:
    config = write_project(tmp_path, tiny_encoder, rows=90)
    with pytest.warns(UserWarning, match="no token counts") as warned:
        found = mlrun_assets.check_data(config, overrides={"model.name": "/none/such"})
    assert found.ready and warned[0].filename == __file__


def test_ctrl_c_before_the_first_asset_leaves_no_run_that_has_not_started(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_and_stop(*arguments: Any, **options: Any) -> None:
        create(*arguments, **options)
        raise KeyboardInterrupt

    create = dg.DagsterInstance.create_run_for_job
    monkeypatch.setattr(dg.DagsterInstance, "create_run_for_job", create_and_stop)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        mlrun_assets.run(write_project(tmp_path, tiny_encoder, rows=90))
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


@pytest.mark.slow  # a whole run
def test_a_run_its_model_and_a_comparison(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    config = write_project(tmp_path, tiny_encoder, rows=90)
    ngrams = {"model.candidates": ["ngrams"]}
    assert mlrun_assets.check_data(config).ready
    run = mlrun_assets.run(config, "My first", overrides=ngrams)
    assert (run.status, run.verdict) == ("Complete", Verdict.APPROVED)
    assert run.f1 and run.f1.low <= run.f1.value <= run.f1.high
    assert run.decision and run.dataset and run.dataset.labels == ("farming", "health", "sports")
    assert "My first" in run.report
    found = mlrun_assets.load_experiment("My-first", config)
    assert found == run
    rows = sample_rows("test")[:20]
    answers = mlrun_assets.load_model("My first", config).predict([row["text"] for row in rows])
    right = sum(answer.label == row["label"] for answer, row in zip(answers, rows, strict=True))
    assert right >= 10
    second = mlrun_assets.run(config, "second", overrides=ngrams | {"training.seed": 7})
    compared = mlrun_assets.compare("My first", "second", config=config)
    assert len(compared.pairs) == 1 and second.id != run.id
    # A run of another project has its own history.
    assert not {SET_VARIABLE, "DAGSTER_HOME"} & set(os.environ)
    assert (tmp_path / ".dagster/history").is_dir()
