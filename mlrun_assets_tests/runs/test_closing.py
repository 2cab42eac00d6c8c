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
from mlrun_assets.experiment import (
    Experiment,
    all_experiments,
    find_experiment,
    is_locked,
    lock_experiment,
    unlock_experiment,
)
from mlrun_assets.records import (
    CheckOutcome,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    Manifest,
    ProductionRecord,
    QualityCheck,
    RegistryRecord,
    Severity,
    StageRun,
    Status,
    Verdict,
)
from mlrun_assets.runs import MADE_FROM, REPORT, closing
from mlrun_assets.runs.closing import complete_experiment, register_run
from mlrun_assets.runs.opening import open_experiment, sweep_abandoned
from mlrun_assets.runs.stage import Stage, require_ready, run_stage
from mlrun_assets_tests.examples import (
    MakeProject,
    dataset_record,
    evaluation_record,
    export_record,
)

BLOCKS = QualityCheck(
    name="schema",
    outcome=CheckOutcome.FAILED,
    severity=Severity.ERROR,
    value=1.0,
    threshold=0.01,
    rows=5,
    message="5 rows can't be used",
)


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def stage_of(experiment: Experiment, config: LoadedConfig, run_id: str = "run-1") -> Stage:
    return Stage(experiment, config, run_id, lambda _: None)


def closed(experiment: Experiment, config: LoadedConfig) -> tuple[Status, str]:
    manifest = experiment.manifest
    registry = (config.reports_dir / "_registry.md").read_text()
    line = next(line for line in registry.splitlines() if f"- {manifest.report} |" in line)
    report = config.reports_dir / "implementation" / f"{manifest.report}.md"
    assert report.exists() and report.with_suffix(".html").exists()
    assert f"| {manifest.status} |" in line
    assert not is_locked(experiment.directory)
    return manifest.status, report.read_text()


def test_an_error_ends_it_as_failed(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    with pytest.raises(ZeroDivisionError), run_stage(stage_of(experiment, config), "training_plan"):
        _ = 1 / 0
    status, report = closed(experiment, config)
    assert status is Status.FAILED
    assert "division by zero" in report
    assert experiment.manifest.stages["training_plan"].status == "failed"


def test_a_full_disk_does_not_hide_the_error(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = open_experiment(config, "x", "run-1")
    told: list[str] = []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fill_the_disk_and_fail() -> None:
        monkeypatch.setattr(os, "fsync", full)
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        run_stage(Stage(experiment, config, "run-1", told.append), "training_plan"),
    ):
        fill_the_disk_and_fail()
    manifest = experiment.directory / "manifest.json"
    (line,) = told
    assert line.startswith(f"{experiment.id}: Failed, but not recorded everywhere: {manifest}:")


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_ends_it_as_cancelled(config: LoadedConfig, interrupt: type[BaseException]) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(interrupt), run_stage(stage_of(experiment, config), "trained_checkpoint"):
        raise interrupt
    assert closed(experiment, config)[0] is Status.CANCELLED


def test_data_that_is_not_ready_ends_it_as_blocked(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    experiment.save(dataset_record({"a": 5, "b": 5}).model_copy(update={"checks": (BLOCKS,)}))
    with (
        pytest.raises(DataBlockedError, match=r"quarantine\.jsonl"),
        run_stage(stage_of(experiment, config), "validated_dataset") as stage,
    ):
        require_ready(stage)
    status, report = closed(experiment, config)
    assert status is Status.BLOCKED
    verdict = experiment.load(DecisionRecord)
    assert verdict.verdict is Verdict.BLOCKED
    assert BLOCKS.message in verdict.sentence
    assert not verdict.deploys
    assert "## Rules" not in report


def test_a_killed_run_is_found_by_the_next_one(config: LoadedConfig, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from mlrun_assets.config import load_config\n"
        "from mlrun_assets.runs.opening import open_experiment\n"
        "from mlrun_assets.runs.stage import Stage, require_ready, run_stage\n"
        "config = load_config(sys.argv[1])\n"
        "experiment = open_experiment(config, 'killed', 'run-1')\n"
        "with run_stage(Stage(experiment, config, 'run-1', print), 'trained_checkpoint'):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(config.file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (killed,) = all_experiments(config.experiments_dir)
        assert is_locked(killed.directory)
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
    unlock_experiment(experiment.directory)
    assert sweep_abandoned(config) == [experiment]
    assert closed(experiment, config)[0] is Status.PARTIAL


def test_another_run_of_a_stage_opens_it_again(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(ValueError, match="x"), run_stage(stage_of(experiment, config), "a"):
        raise ValueError("x")
    with run_stage(stage_of(experiment, config, "run-2"), "a"):
        assert experiment.manifest.status is Status.RUNNING
        assert experiment.manifest.error is None
        assert is_locked(experiment.directory)


def test_what_still_runs_after_a_failure_does_not_undo_it(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    stage = stage_of(experiment, config)
    with pytest.raises(OSError, match="disk"), run_stage(stage, "baseline_metrics"):
        raise OSError(28, "disk full")
    with run_stage(stage, "trained_checkpoint"):
        pass
    with pytest.raises(ValueError, match="later"), run_stage(stage, "exported_model"):
        raise ValueError("later")
    status, report = closed(experiment, config)
    assert status is Status.FAILED
    assert "disk full" in (experiment.manifest.error or "")
    assert "disk full" in report
    assert sweep_abandoned(config) == []


def test_what_was_made_from_a_stage_goes_when_it_is_made_anew(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    stage = stage_of(experiment, config)
    with run_stage(stage, "validated_dataset"):
        stage.save(dataset_record({"a": 5, "b": 5}))
    with run_stage(stage, "evaluation_metrics"):
        stage.save(evaluation_record())
    with run_stage(stage, "exported_model"):
        stage.save(export_record())
    assert experiment.find(EvaluationRecord)
    with run_stage(stage, "trained_checkpoint"):
        pass
    assert experiment.find(DatasetRecord)
    assert experiment.find(EvaluationRecord) is None
    assert experiment.find(ExportRecord) is None
    assert set(experiment.manifest.stages) == {"validated_dataset", "trained_checkpoint"}


def test_a_report_alone_completes_nothing(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with (
        pytest.raises(RecordError, match="validated_dataset, training_plan"),
        run_stage(stage_of(experiment, config), "deployment_report"),
    ):
        complete_experiment(experiment, config, "run-1")
    assert closed(experiment, config)[0] is Status.FAILED


def registered(experiment: Experiment, config: LoadedConfig) -> str:
    registry = (config.reports_dir / "_registry.md").read_text()
    (line,) = (each for each in registry.splitlines() if experiment.manifest.report in each)
    return line.split(" | ", 1)[1]


def decided(config: LoadedConfig) -> Experiment:
    """An experiment whose stages before the report are done."""
    experiment = open_experiment(config, "x", "run-1")
    stage = stage_of(experiment, config)
    experiment.save(evaluation_record())
    experiment.save(ProductionRecord(moved=False, sentence="stays", before=None, after=None))
    done = {name: StageRun(status="done") for name in MADE_FROM if name != REPORT}
    experiment.update(stages=done)
    with run_stage(stage, "experiment_registry"):
        stage.save(register_run(experiment, config))
    return experiment


def test_the_registry_says_complete_once_the_report_is_written(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = decided(config)
    assert registered(experiment, config).startswith("Running | accuracy ")

    def killed(*_: object) -> None:
        assert registered(experiment, config).startswith("Running | accuracy ")
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(closing, "write_report", killed)
        with pytest.raises(MemoryError):
            complete_experiment(experiment, config, "run-1")
    assert registered(experiment, config).startswith("Running | accuracy ")
    assert experiment.manifest.status is Status.RUNNING

    with run_stage(stage_of(experiment, config), "deployment_report"):
        complete_experiment(experiment, config, "run-1")
    assert closed(experiment, config)[0] is Status.COMPLETE
    assert registered(experiment, config).startswith("Complete | accuracy ")
    assert experiment.load(RegistryRecord).line.endswith(registered(experiment, config))


def test_a_run_that_is_killed_before_its_report_is_closed_by_the_next_one(
    config: LoadedConfig,
) -> None:
    experiment = decided(config)
    unlock_experiment(experiment.directory)
    open_experiment(config, "next", "run-2")
    assert closed(experiment, config)[0] is Status.PARTIAL
    assert registered(experiment, config).startswith("Partial | accuracy ")


def test_the_report_alone_made_again_leaves_the_run_complete(config: LoadedConfig) -> None:
    experiment = decided(config)
    for run_id in ("run-1", "run-2"):
        with run_stage(stage_of(experiment, config, run_id), "deployment_report"):
            assert registered(experiment, config).startswith("Running | ")
            complete_experiment(experiment, config, run_id)
    assert registered(experiment, config).startswith("Complete | accuracy ")


def test_one_that_can_not_be_closed_does_not_stop_the_next_run(config: LoadedConfig) -> None:
    abandoned = open_experiment(config, "one", "run-1")
    unlock_experiment(abandoned.directory)
    (abandoned.directory / "config.yaml").write_text("modle: {}\n")
    said: list[str] = []
    assert open_experiment(config, "two", "run-2", said.append).manifest.name == "two"
    assert "did you mean `model`" in said[0]


def test_a_registry_that_can_not_be_read_leaves_no_experiment(config: LoadedConfig) -> None:
    (config.reports_dir / "_tech-debt.md").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(RecordError, match="_tech-debt"):
            open_experiment(config, "x", "run-1")
    assert all_experiments(config.experiments_dir) == []


def test_only_one_process_works_on_an_experiment(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mlrun_assets.errors import ExperimentError\n"
        "from mlrun_assets.experiment import lock_experiment\n"
        "try:\n"
        "    lock_experiment(Path(sys.argv[1]))\n"
        "except ExperimentError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(experiment.directory)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "another process works on this experiment" in said


def test_an_error_while_closing_does_not_hide_the_first(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.runs import closing

    def broken(*_: object) -> None:
        raise RecordError("the registry is a directory")

    experiment = open_experiment(config, None, "run-1")
    monkeypatch.setattr(closing, "write_run_line", broken)
    said: list[str] = []
    stage = Stage(experiment, config, "run-1", said.append)
    with pytest.raises(ZeroDivisionError), run_stage(stage, "a"):
        _ = 1 / 0
    assert "the registry is a directory" in said[0]
    # Still open, so that the next sweep closes it.
    assert experiment.manifest.status is Status.RUNNING


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
    lock_experiment(tmp_path)
    lock_experiment(tmp_path)
    assert is_locked(tmp_path)
    unlock_experiment(tmp_path)
    unlock_experiment(tmp_path)
    assert not is_locked(tmp_path)
