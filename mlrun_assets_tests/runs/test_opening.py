"""A new experiment: names, killed runs, environment, earlier runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlrun_assets.config import DeploymentConfig, LoadedConfig, load_config
from mlrun_assets.decision.verdict import decide
from mlrun_assets.errors import ExperimentError, RecordError
from mlrun_assets.experiment import (
    Experiment,
    ExperimentPaths,
    all_experiments,
    find_experiment,
    is_locked,
    lock_experiment,
    take_directory,
    unlock_experiment,
)
from mlrun_assets.files import name_beside
from mlrun_assets.records import Manifest, PriorRun, RunLine, Status
from mlrun_assets.registries.registry import read_registry, reserve_report_name, write_run_line
from mlrun_assets.runs.closing import close_experiment
from mlrun_assets.runs.opening import (
    MOST_PRIOR_RUNS,
    NEWEST_PRIOR_RUNS,
    collect_prior_runs,
    observe_environment,
    open_experiment,
    recipe_summary,
    sweep_abandoned,
    usable_runs,
)
from mlrun_assets_tests.examples import (
    MakeProject,
    checkpoint_record,
    dataset_record,
    evaluation_record,
    export_record,
    plan,
    prior_run,
    seed_result,
)
from mlrun_assets_tests.runs.test_closing import closed


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


WAITS_IN_A_STAGE = """
import sys
from mlrun_assets.config import load_config
from mlrun_assets.runs.opening import open_experiment
from mlrun_assets.runs.stage import Stage, run_stage
config = load_config(sys.argv[1])
experiment = open_experiment(config, "killed", "run-1")
with run_stage(Stage(experiment, config, "run-1", print), "trained_checkpoint"):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_is_found_by_the_next_one(config: LoadedConfig) -> None:
    command = [sys.executable, "-c", WAITS_IN_A_STAGE, str(config.file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (killed,) = all_experiments(config.experiments_dir)
        assert is_locked(killed.directory)
        sweep_abandoned(config)
        process.kill()
    assert killed.manifest.status is Status.RUNNING
    following = open_experiment(config, "next", "run-2")
    assert closed(killed, config)[0] is Status.INTERRUPTED
    assert following.manifest.status is Status.RUNNING


def spoil_config(paths: ExperimentPaths) -> None:
    paths.config.write_text("modle: {}\n")


def spoil_lock(paths: ExperimentPaths) -> None:
    lock = paths.lock_attempt.with_name(f".{paths.lock_attempt.name}.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"), [(spoil_config, "did you mean `model`"), (spoil_lock, "lock-attempt")]
)
def test_an_experiment_that_can_not_be_closed_does_not_stop_the_next_run(
    config: LoadedConfig, spoil: Callable[[ExperimentPaths], None], why: str
) -> None:
    abandoned = open_experiment(config, "one", "run-1")
    unlock_experiment(abandoned.directory)
    spoil(abandoned.paths)
    notes: list[str] = []
    assert open_experiment(config, "two", "run-2", notes.append).manifest.name == "two"
    assert abandoned.id in notes[0] and why in notes[0]


def statuses(config: LoadedConfig) -> dict[str, str]:
    return {line.report: line.status for line in read_registry(config.reports_dir).runs}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("owner", "step"), [(Manifest, "save"), (Experiment, "freeze")])
def test_an_error_while_it_is_opened_closes_its_line(
    config: LoadedConfig,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    step: str,
    error: BaseException,
) -> None:
    def fail(*_: object) -> None:
        raise error

    open_experiment(config, "before", "run-1")
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, fail)
        with pytest.raises(type(error)):
            open_experiment(config, "x", "run-2")
    assert list(statuses(config).values()) == ["Running", "Failed"]
    assert len(list(config.experiments_dir.iterdir())) == 1


def test_a_line_whose_experiment_is_gone_is_closed(config: LoadedConfig) -> None:
    deleted = open_experiment(config, "deleted", "run-1")
    unlock_experiment(deleted.directory)
    shutil.rmtree(deleted.directory)
    people = "impl-ml-run-elsewhere-20261126"
    write_run_line(config.reports_dir, people, Status.RUNNING, "on the cluster, ask Hodan")
    open_experiment(config, "next", "run-2")
    assert list(statuses(config).values()) == ["Interrupted", "Running", "Running"]


def test_an_editor_that_saves_an_old_copy_loses_no_line_of_a_run(config: LoadedConfig) -> None:
    """Of three lines, two are missing from the copy, and the other one was still `Running`."""
    registry = config.reports_dir / "_registry.md"
    first = open_experiment(config, "first", "run-1")
    copy = registry.read_text(encoding="utf-8") + "- a line that a person wrote\n"
    second, third = (open_experiment(config, name, "run-2") for name in ("second", "third"))
    for experiment in (first, second, third):
        close_experiment(experiment, config, Status.FAILED, error="why")
    whole = registry.read_text(encoding="utf-8").splitlines()
    hidden = whole.pop()
    registry.write_text(f"{copy}<!-- {hidden} -->\n", encoding="utf-8")
    sweep_abandoned(config)
    restored = registry.read_text(encoding="utf-8").splitlines()
    person = ["- a line that a person wrote", f"<!-- {hidden} -->"]
    assert restored == [*whole[:-1], *person, whole[-1]]
    sweep_abandoned(config)
    assert registry.read_text(encoding="utf-8").splitlines() == restored


def test_lines_of_another_registry_are_not_restored(
    config: LoadedConfig, make_project: MakeProject
) -> None:
    close_experiment(open_experiment(config, "first", "run-1"), config, Status.FAILED)
    elsewhere = load_config(make_project(reports={"dir": "elsewhere"}))
    open_experiment(elsewhere, "second", "run-2")
    assert [line.status for line in read_registry(elsewhere.reports_dir).runs] == ["Running"]


def test_a_run_that_is_being_opened_is_left_alone(config: LoadedConfig) -> None:
    directory = take_directory(config.experiments_dir, datetime(2026, 11, 26, tzinfo=UTC))
    report = reserve_report_name(config.reports_dir, "other", "20261126")
    lock_experiment(directory)
    ExperimentPaths(directory).config.write_text("{}")
    sweep_abandoned(config)
    assert directory.exists() and statuses(config) == {report: "Running"}
    unlock_experiment(directory)
    sweep_abandoned(config)
    assert not directory.exists() and statuses(config) == {report: "Interrupted"}


def test_only_what_opening_writes_is_removed(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    unlock_experiment(experiment.directory)
    experiment.paths.manifest.unlink()
    sweep_abandoned(config)
    assert experiment.paths.record("experiment").exists()


def test_an_experiment_whose_config_is_gone_is_closed_with_the_current_one(
    config: LoadedConfig,
) -> None:
    experiment = open_experiment(config, "x", "run-1")
    unlock_experiment(experiment.directory)
    experiment.paths.config.unlink()
    sweep_abandoned(config)
    assert closed(experiment, config)[0] is Status.INTERRUPTED
    assert experiment.config(config) == config


def test_temporary_files_of_killed_processes_are_removed(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    reports = config.reports_dir / "implementation"
    places = [experiment.directory, experiment.paths.records, config.reports_dir, reports]
    places += [config.production_dir, config.production_dir / "versions"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        left = name_beside(place / "a").name.replace(f".{os.getpid()}-", ".999999999-")
        (place / left).write_text("half")
    sweep_abandoned(config)
    assert not [left for place in places for left in place.glob(".a.*")]


def test_registries_that_can_not_be_read_or_written_leave_no_experiment(
    config: LoadedConfig,
) -> None:
    (config.reports_dir / "_tech-debt.md").mkdir(parents=True)
    with pytest.raises(RecordError, match="_tech-debt"):
        open_experiment(config, "x", "run-1")
    shutil.rmtree(config.reports_dir)
    config.reports_dir.write_text("a file")
    with pytest.raises(RecordError, match="reports"):
        open_experiment(config, "x", "run-1")
    assert not list(config.experiments_dir.glob("*"))


def test_names(config: LoadedConfig) -> None:
    kept = open_experiment(config, "xlm-r-fine-tune-v2", "1").manifest
    assert (kept.name, kept.original_name) == ("xlm-r-fine-tune-v2", None)
    slugged = open_experiment(config, "test augmented training data", "2").manifest
    assert slugged.name == "test-augmented-training-data"
    assert slugged.original_name == "test augmented training data"
    for name, hyphens in {"हिन्दी परीक्षण": 1, "த\u200cமிழ்": 0, "ọ̀rọ̀ ẹ̀kọ́": 1}.items():
        marked = open_experiment(config, name, "2").manifest
        assert marked.name.count("-") == hyphens
        assert find_experiment(config.experiments_dir, name).id == marked.id
    assert open_experiment(config, "we ❤️ Somali", "2").manifest.name == "we-Somali"
    unnamed = open_experiment(config, None, "3").manifest
    assert unnamed.name == unnamed.id
    for name in ("../../etc/passwd", "a\n- b | Complete | x", "a|b", "x" * 300):
        manifest = open_experiment(config, name, "4").manifest
        assert "/" not in manifest.name and "|" not in manifest.name
        assert len(manifest.name) <= 60
    before = len(all_experiments(config.experiments_dir))
    for name in ("///", " - ", "...", "\u0301"):
        with pytest.raises(ExperimentError, match="no letter or digit"):
            open_experiment(config, name, "5")
    assert len(all_experiments(config.experiments_dir)) == before


@pytest.mark.parametrize(("letter", "kept"), [("x", 60), ("\N{ETHIOPIC SYLLABLE HA}", 53),
                                              ("\N{ADLAM SMALL LETTER ALIF}", 40)])  # fmt: skip
def test_a_long_name_is_cut_to_the_bytes_of_a_file_name(
    config: LoadedConfig, letter: str, kept: int
) -> None:
    for run_id in ("1", "2"):
        assert open_experiment(config, letter * 70, run_id).manifest.name == letter * kept


def test_a_manifest_that_can_not_be_read_is_passed_over(config: LoadedConfig) -> None:
    open_experiment(config, "one", "run-1").paths.manifest.write_text("{")
    open_experiment(config, "two", "run-2")
    assert [each.manifest.name for each in all_experiments(config.experiments_dir)] == ["two"]


def test_the_environment_has_threads_packages_and_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    seen = observe_environment(tmp_path)
    assert seen.thread_limits["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in seen.thread_limits
    assert seen.packages["torch"] != "not installed"


def test_the_environment_has_what_the_system_tells_of_its_processors(tmp_path: Path) -> None:
    gpu = tmp_path / "proc/driver/nvidia/gpus/0/information"
    gpu.parent.mkdir(parents=True)
    gpu.write_text("Model: \t A100\n", encoding="utf-8")
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nmodel name\t: EPYC\n", encoding="utf-8")
    seen = observe_environment(tmp_path, tmp_path)
    assert (seen.accelerator, seen.cpu_model) == ("A100", "EPYC")
    without = observe_environment(tmp_path, tmp_path / "a system without proc, such as macOS")
    assert (without.accelerator, without.cpu_model) == (None, None)


# Earlier runs


@pytest.fixture
def trained(config: LoadedConfig) -> Experiment:
    """One that was trained with three seeds and rejected."""
    made = open_experiment(config, "first", "run-1")
    made.save(dataset_record({"a": 60, "b": 60}))
    made.save(plan(training={"seeds": [13, 42, 87], "freeze": 2, "learning_rate": 5e-5}))
    seeds = tuple(seed_result(seed, val_f1_macro=f1) for seed, f1 in ((13, 0.7), (42, 0.9)))
    made.save(checkpoint_record(seed=42, seeds=seeds))
    evaluation = evaluation_record(accuracy=0.7, f1=0.7)
    made.save(evaluation)
    made.save(decide(evaluation, export_record(), DeploymentConfig(), made.id))
    return made


def test_a_prior_run_comes_from_its_records(trained: Experiment) -> None:
    (run,) = collect_prior_runs([trained], [])
    assert (run.experiment, run.data_name) == (trained.id, "som")
    assert run.comparable_digest == plan(training={"freeze": 2}).recipe.comparable_digest
    assert run.learning_rate == 5e-5
    assert run.val_digest == "sha256:1"
    assert run.val_f1_macro == pytest.approx(0.8)
    assert run.verdict == "REJECTED"
    assert run.verdict_reason is not None
    assert "accuracy 0.700" in run.verdict_reason
    assert run.recipe_summary is not None
    assert run.recipe_summary.endswith("learning rate 5e-05, seeds 13, 42, 87")
    assert recipe_summary(plan(training={"seed": 7}), None).endswith(", seed 7")
    chosen = checkpoint_record(chosen="frozen+ngrams")
    assert recipe_summary(plan(), chosen).startswith("frozen+ngrams with embedded:")


def test_a_run_known_by_its_line_alone_has_no_scores(trained: Experiment) -> None:
    line = RunLine("impl-ml-run-gone-20261101", "Complete", "accuracy 0.9")
    runs = collect_prior_runs([trained], [line])
    assert [run.report for run in runs] == [trained.manifest.report, line.report]
    assert runs[1].val_f1_macro is runs[1].learning_rate is None


def test_the_runs_that_a_record_keeps_are_bounded_and_hold_what_a_plan_needs() -> None:
    def run(number: int, recipe: object = None, f1: float | None = None) -> PriorRun:
        report, experiment = f"impl-ml-run-x-20261123-{number}", f"exp_{number}"
        recipe = str(number if recipe is None else recipe)
        return prior_run(report, experiment=experiment, recipe_digest=recipe, val_f1_macro=f1)

    newest = [run(number) for number in range(NEWEST_PRIOR_RUNS)]
    tried = ((100, "a", 0.7), (101, "a", 0.9), (102, "a", 0.8), (103, "a", None), (104, "b", None))
    older = [run(*each) for each in tried]
    lines = [PriorRun(report=f"impl-ml-run-y-202611{day}", status="x") for day in range(10, 30)]
    kept = usable_runs([*newest, *older, *lines])
    assert kept[:NEWEST_PRIOR_RUNS] == tuple(newest)
    ends = [each.report[-2:] for each in kept[NEWEST_PRIOR_RUNS:]]
    assert ends == ["01", "04", "29", "28", "27", "26", "25"]
    many = [run(number) for number in range(1000)] + lines * 300
    assert len(usable_runs(many)) == MOST_PRIOR_RUNS + 5
