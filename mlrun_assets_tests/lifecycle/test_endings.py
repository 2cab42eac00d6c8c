"""Every way in which a run can end leaves a registry line, tech debt and a report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import DataBlockedError, ExperimentError, RecordError
from mlrun_assets.experiment_store import Experiment, all_experiments, find_experiment
from mlrun_assets.lifecycle.holding import hold, is_held, release
from mlrun_assets.lifecycle.opening import open_experiment, sweep_abandoned
from mlrun_assets.lifecycle.stages import Stage, run_stage
from mlrun_assets.records import Manifest, Status
from mlrun_assets_tests.conftest import MakeProject
from mlrun_assets_tests.records_factory import dataset_record


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def stage_of(experiment: Experiment, config: LoadedConfig) -> Stage:
    return Stage(experiment, config, lambda _: None)


def closed(experiment: Experiment, config: LoadedConfig) -> tuple[Status, str]:
    manifest = experiment.manifest
    registry = (config.reports_dir / "_registry.md").read_text()
    line = next(line for line in registry.splitlines() if f"- {manifest.report} |" in line)
    report = config.reports_dir / "implementation" / f"{manifest.report}.md"
    assert report.exists() and report.with_suffix(".html").exists()
    assert f"| {manifest.status} |" in line
    assert not is_held(experiment.directory)
    return manifest.status, report.read_text()


def test_an_error_ends_it_as_failed(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    with pytest.raises(ZeroDivisionError), run_stage(stage_of(experiment, config), "training_plan"):
        _ = 1 / 0
    status, report = closed(experiment, config)
    assert status is Status.FAILED
    assert "division by zero" in report
    assert experiment.manifest.stages["training_plan"].status == "failed"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_ends_it_as_cancelled(config: LoadedConfig, interrupt: type[BaseException]) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(interrupt), run_stage(stage_of(experiment, config), "trained_checkpoint"):
        raise interrupt
    assert closed(experiment, config)[0] is Status.CANCELLED


def test_data_that_is_not_ready_ends_it_as_blocked(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with (
        pytest.raises(DataBlockedError, match=r"quarantine\.jsonl"),
        run_stage(stage_of(experiment, config), "validated_dataset") as stage,
    ):
        stage.save(dataset_record({"a": 5, "b": 5}).model_copy(update={"ready": False}))
    assert closed(experiment, config)[0] is Status.BLOCKED


def test_a_killed_run_is_found_by_the_next_one(config: LoadedConfig, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from mlrun_assets.config import load_config\n"
        "from mlrun_assets.lifecycle.opening import open_experiment\n"
        "from mlrun_assets.lifecycle.stages import Stage, run_stage\n"
        "config = load_config(sys.argv[1])\n"
        "experiment = open_experiment(config, 'killed', 'run-1')\n"
        "with run_stage(Stage(experiment, config, print), 'trained_checkpoint'):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(config.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (killed,) = all_experiments(config.experiments_dir)
        assert is_held(killed.directory)
        assert sweep_abandoned(config) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert killed.manifest.status is Status.RUNNING
    following = open_experiment(config, "next", "run-2")
    assert closed(killed, config)[0] is Status.INTERRUPTED
    assert following.manifest.status is Status.RUNNING


def test_a_run_of_some_assets_only_is_partial(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with run_stage(stage_of(experiment, config), "experiment"):
        pass
    assert sweep_abandoned(config) == []
    release(experiment.directory)
    assert sweep_abandoned(config) == [experiment]
    assert closed(experiment, config)[0] is Status.PARTIAL


def test_a_stage_that_is_run_again_opens_it_again(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(ValueError, match="x"), run_stage(stage_of(experiment, config), "a"):
        raise ValueError("x")
    with run_stage(stage_of(experiment, config), "a"):
        assert experiment.manifest.status is Status.RUNNING
        assert experiment.manifest.error is None
        assert is_held(experiment.directory)


def test_an_error_while_closing_does_not_hide_the_first(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.lifecycle import closing

    def broken(*_: object) -> None:
        raise RecordError("the registry is a directory")

    experiment = open_experiment(config, None, "run-1")
    monkeypatch.setattr(closing, "register_run", broken)
    said: list[str] = []
    stage = Stage(experiment, config, said.append)
    with pytest.raises(ZeroDivisionError), run_stage(stage, "a"):
        _ = 1 / 0
    assert "the registry is a directory" in said[0]
    assert experiment.manifest.status is Status.FAILED


def test_names(config: LoadedConfig) -> None:
    kept = open_experiment(config, "xlm-r-fine-tune-v2", "1").manifest
    assert (kept.name, kept.original_name) == ("xlm-r-fine-tune-v2", None)
    slugged = open_experiment(config, "test augmented training data", "2").manifest
    assert slugged.name == "test-augmented-training-data"
    assert slugged.original_name == "test augmented training data"
    unnamed = open_experiment(config, None, "3").manifest
    assert unnamed.name == unnamed.id
    for name in ("../../etc/passwd", "a\n- b | Complete | x", "a|b", "x" * 300):
        manifest = open_experiment(config, name, "4").manifest
        assert "/" not in manifest.name and "|" not in manifest.name
        assert len(manifest.name) <= 60
    before = len(all_experiments(config.experiments_dir))
    for name in ("///", " - ", "..."):
        with pytest.raises(ExperimentError, match="no letter or digit"):
            open_experiment(config, name, "5")
    assert len(all_experiments(config.experiments_dir)) == before


def test_the_same_second_gives_different_directories(config: LoadedConfig) -> None:
    opened = [open_experiment(config, "same", str(number)) for number in range(4)]
    assert len({experiment.id for experiment in opened}) == 4
    assert len({experiment.manifest.report for experiment in opened}) == 4


def test_finding_an_experiment(config: LoadedConfig) -> None:
    parent = config.experiments_dir
    with pytest.raises(ExperimentError, match="no experiment yet"):
        find_experiment(parent, None, ())
    one, two = open_experiment(config, "one", "run-1"), open_experiment(config, "two", "run-2")
    assert find_experiment(parent, one.id, ("run-2",)) == one
    assert find_experiment(parent, "one", ()) == one
    assert find_experiment(parent, None, ("re-executed", "run-1")) == one
    assert find_experiment(parent, None, ("unknown",)) == two
    for wrong in ("../one", "exp_0", ""):
        with pytest.raises(ExperimentError, match="no experiment `"):
            find_experiment(parent, wrong, ())


def test_a_manifest_that_can_not_be_read_is_passed_over(config: LoadedConfig) -> None:
    open_experiment(config, "one", "run-1")
    broken = config.experiments_dir / "exp_broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    assert [each.manifest.name for each in all_experiments(config.experiments_dir)] == ["one"]
    assert isinstance(open_experiment(config, "two", "run-2").manifest, Manifest)


def test_reports_that_can_not_be_written_leave_no_experiment(config: LoadedConfig) -> None:
    config.reports_dir.parent.mkdir()
    config.reports_dir.write_text("a file")
    with pytest.raises(RecordError, match=r"reports"):
        open_experiment(config, "x", "run-1")
    assert not list(config.experiments_dir.glob("*"))


def test_holding_twice_and_letting_go(tmp_path: Path) -> None:
    assert hold(tmp_path) and hold(tmp_path)
    release(tmp_path)
    release(tmp_path)
    assert not is_held(tmp_path)
