"""One stage: how it ends, and what is left of a stopped run."""

from __future__ import annotations

import os
import shutil
from types import ModuleType
from typing import Any

import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import DataBlockedError, ExperimentError, RecordError
from mlrun_assets.experiment import Experiment, is_locked, unlock_experiment
from mlrun_assets.files import write_atomically
from mlrun_assets.records import (
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    Status,
    Verdict,
)
from mlrun_assets.registries.registry import read_registry
from mlrun_assets.runs import MADE_FROM, closing
from mlrun_assets.runs import stage as resuming
from mlrun_assets.runs.closing import register_run
from mlrun_assets.runs.opening import open_experiment
from mlrun_assets.runs.stage import (
    Stage,
    missing_sources,
    require_ready,
    resume_experiment,
    run_stage,
)
from mlrun_assets_tests.examples import (
    MakeProject,
    blocked_run,
    dataset_record,
    evaluation_record,
    export_record,
    plan,
)
from mlrun_assets_tests.runs.test_closing import closed, decided, registered, stage_of


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def test_an_error_ends_it_as_failed(config: LoadedConfig) -> None:
    experiment = open_experiment(config, "x", "run-1")
    with pytest.raises(ZeroDivisionError), run_stage(stage_of(experiment, config), "training_plan"):
        _ = 1 / 0
    status, report = closed(experiment, config)
    assert status is Status.FAILED
    assert "division by zero" in report
    assert experiment.manifest.stages["training_plan"].status == "failed"


@pytest.mark.parametrize(
    ("module", "broken", "second", "why"),
    [
        (os, "fsync", OSError(28, "No space left on device"), "manifest.json: No space left"),
        (closing, "write_run_line", RecordError("the registry is a directory"), "the registry is"),
    ],
)
def test_a_second_error_does_not_hide_the_first(
    config: LoadedConfig,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    broken: str,
    second: Exception,
    why: str,
) -> None:
    experiment = open_experiment(config, "x", "run-1")
    notes: list[str] = []

    def fail_again(*_: object) -> None:
        raise second

    def fail() -> None:
        monkeypatch.setattr(module, broken, fail_again)
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        run_stage(Stage(experiment, config, "run-1", notes.append), "training_plan"),
    ):
        fail()
    (line,) = notes
    assert line.startswith(f"{experiment.id}: Failed, but not recorded everywhere: ")
    assert why in line
    # Still open, so that the next sweep closes it.
    assert experiment.manifest.status is Status.RUNNING


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_ends_it_as_cancelled(config: LoadedConfig, interrupt: type[BaseException]) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(interrupt), run_stage(stage_of(experiment, config), "trained_checkpoint"):
        raise interrupt
    assert closed(experiment, config)[0] is Status.CANCELLED


def test_data_that_is_not_ready_ends_it_as_blocked(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    dataset = blocked_run().dataset
    assert dataset
    experiment.save(dataset)
    for rows, file in ((b"", experiment.paths.quarantine), (b"{}\n", experiment.paths.leaks)):
        write_atomically(file, rows)
    with (
        pytest.raises(DataBlockedError, match=r"leaking rows: .*leaks\.jsonl$") as error,
        run_stage(stage_of(experiment, config), "validated_dataset") as stage,
    ):
        require_ready(stage)
    assert "quarantine" not in str(error.value)  # the file is empty
    status, report = closed(experiment, config)
    assert status is Status.BLOCKED
    verdict = experiment.load(DecisionRecord)
    assert verdict.verdict is Verdict.BLOCKED and not verdict.deploys
    assert "7 rows of test stand in train too" in verdict.sentence
    assert "## Rules" not in report


def test_another_run_of_a_stage_opens_it_again(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    with pytest.raises(ValueError, match="x"), run_stage(stage_of(experiment, config), "a"):
        raise ValueError("x")
    with run_stage(stage_of(experiment, config, "run-2"), "a"):
        assert experiment.manifest.status is Status.RUNNING
        assert experiment.manifest.error is None
        assert registered(experiment, config) == "Running | resumed"
        assert is_locked(experiment.directory)


def test_stages_after_a_failure_do_not_change_the_status(config: LoadedConfig) -> None:
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


def test_a_registry_stage_after_a_failure_writes_failed(config: LoadedConfig) -> None:
    """Dagster goes on with `experiment_registry` when `tech_debt_registry` has failed."""
    experiment = decided(config)
    stage = stage_of(experiment, config)
    with pytest.raises(OSError, match="disk"), run_stage(stage, "tech_debt_registry"):
        raise OSError(28, "disk full")
    with run_stage(stage, "experiment_registry"):
        line = stage.save(register_run(experiment, config)).line
    assert closed(experiment, config)[0] is Status.FAILED
    assert " | Failed | accuracy " in line and "disk full" in line


def test_an_experiment_that_is_deleted_during_its_run_does_not_hide_the_error(
    config: LoadedConfig,
) -> None:
    experiment = open_experiment(config, "x", "run-1")
    stage = stage_of(experiment, config)

    def fail() -> None:
        shutil.rmtree(experiment.directory)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), run_stage(stage, "training_plan"):
        fail()
    unlock_experiment(experiment.directory)
    open_experiment(config, "next", "run-2")
    lines = read_registry(config.reports_dir).runs
    assert [line.status for line in lines] == ["Interrupted", "Running"]


def test_a_stage_that_runs_again_invalidates_everything_downstream(config: LoadedConfig) -> None:
    experiment = open_experiment(config, None, "run-1")
    stage = stage_of(experiment, config)
    records = {
        "validated_dataset": dataset_record({"a": 5, "b": 5}),
        "evaluation_metrics": evaluation_record(),
        "exported_model": export_record(),
    }
    for name, record in records.items():
        with run_stage(stage, name):
            stage.save(record)
    assert experiment.find(EvaluationRecord)
    with run_stage(stage, "trained_checkpoint"):
        pass
    assert experiment.find(DatasetRecord)
    assert experiment.find(EvaluationRecord) is experiment.find(ExportRecord) is None
    assert set(experiment.manifest.stages) == {"validated_dataset", "trained_checkpoint"}


# Another run of some stages


@pytest.mark.parametrize(
    ("stages", "missing"),
    [
        (["training_plan"], []),
        (["validated_dataset", "baseline_metrics"], ["training_plan"]),
        (["trained_checkpoint"], ["training_plan", "baseline_metrics"]),
        (["trained_checkpoint", "training_plan", "baseline_metrics"], []),
        (["experiment", "training_plan"], ["validated_dataset"]),  # it would be of other data
        (list(MADE_FROM), []),
    ],
)
def test_sources_that_a_selection_of_stages_lacks(
    config: LoadedConfig, stages: list[str], missing: list[str]
) -> None:
    experiment = stopped(config, validated=True)
    assert missing_sources(experiment, stages) == missing
    experiment.paths.record("validated_dataset").unlink()
    assert ("validated_dataset" in missing_sources(experiment, stages)) is (
        "validated_dataset" not in stages
    )


# Resuming a run


EVERYTHING_ELSE = tuple(MADE_FROM)[2:]
ON_A_CLUSTER = {"backend": "ray", "num_workers": 2, "ray_address": "gone:6379"}


def stopped(config: LoadedConfig, *, validated: bool) -> Experiment:
    """An experiment of which the first one or two stages came to their end."""
    experiment = open_experiment(config, "stopped", "run-1")
    stage = stage_of(experiment, config)
    with run_stage(stage, "experiment"):
        pass
    if validated:
        with run_stage(stage, "validated_dataset"):
            stage.save(dataset_record({"a": 5, "b": 5}))
    unlock_experiment(experiment.directory)
    return experiment


def resumed(config: LoadedConfig, *said: str) -> tuple[str, ...]:
    """The stages that are left; the notes start with ``said``."""
    notes: list[str] = []
    stages = resume_experiment(config, "stopped", notes.append).stages
    assert [note[: len(start)] for note, start in zip(notes, said, strict=True)] == list(said)
    return stages


def test_finished_stages_are_not_left(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    assert resumed(config) == EVERYTHING_ELSE
    assert is_locked(experiment.directory)


def test_a_record_that_is_gone_or_broken_leaves_its_stage_and_what_is_made_from_it(
    config: LoadedConfig,
) -> None:
    record = stopped(config, validated=True).paths.record("validated_dataset")
    record.write_text("{")
    assert resumed(config) == ("validated_dataset", *EVERYTHING_ELSE)
    record.unlink()
    assert resumed(config) == ("validated_dataset", *EVERYTHING_ELSE)


def test_a_stage_that_failed_is_left_with_what_is_made_from_it(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    stage = stage_of(experiment, config, "run-2")
    with pytest.raises(ZeroDivisionError), run_stage(stage, "baseline_metrics"):
        _ = 1 / 0
    assert experiment.manifest.status is Status.FAILED
    assert resumed(config) == EVERYTHING_ELSE


def test_validated_rows_are_kept_if_the_files_change(config: LoadedConfig) -> None:
    stopped(config, validated=True)
    add_a_row(config)
    assert resumed(config, "the files of val have changed since ") == EVERYTHING_ELSE


def test_data_that_changed_before_it_was_validated_is_another_experiment(
    config: LoadedConfig,
) -> None:
    stopped(config, validated=False)
    assert resumed(config) == ("validated_dataset", *EVERYTHING_ELSE)
    add_a_row(config)
    with pytest.raises(ExperimentError, match=r"files of val have changed .* start a new run"):
        resumed(config)


def add_a_row(config: LoadedConfig) -> None:
    with (config.directory / "data" / "val.jsonl").open("a") as file:
        file.write('{"text": "x", "label": "health"}\n')


def changed(config: LoadedConfig, **training: Any) -> LoadedConfig:
    section = config.settings.training.model_copy(update=training)
    whole = config.settings.model_copy(update={"training": section})
    return config.model_copy(update={"settings": whole})


def test_the_backend_comes_from_the_current_config(config: LoadedConfig) -> None:
    experiment = stopped(changed(config, **ON_A_CLUSTER), validated=True)
    why = (
        f"{experiment.id} trains with the settings of the current config: training.backend is "
        "inline instead of ray, training.num_workers is 1 instead of 2, training.ray_address is "
        "unset instead of gone:6379"
    )
    assert resumed(config, why) == EVERYTHING_ELSE
    assert experiment.config(config) == config
    assert resumed(config) == EVERYTHING_ELSE


def test_only_the_backend_comes_from_the_current_config(config: LoadedConfig) -> None:
    experiment = stopped(changed(config, epochs=3, **ON_A_CLUSTER), validated=True)
    resumed(changed(config, epochs=7, seed=5), experiment.id, "the config has changed since")
    assert experiment.config(config) == changed(config, epochs=3)


def test_the_backend_is_kept_if_training_is_done(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster = changed(config, **ON_A_CLUSTER)
    experiment = stopped(on_a_cluster, validated=True)
    monkeypatch.setattr(resuming, "_stages_left", lambda _: ("evaluation_metrics",))
    resumed(config, "the config has changed since")
    assert experiment.config(config) == on_a_cluster


@pytest.mark.parametrize("planned", [False, True])
def test_workers_that_can_not_share_a_batch_are_refused(
    config: LoadedConfig, planned: bool
) -> None:
    own = changed(config, batch_size="auto" if planned else 16)
    experiment = stopped(own, validated=True)
    if planned:
        with run_stage(stage_of(experiment, own), "training_plan"):
            experiment.save(plan(training={"batch_size": 16}))
        unlock_experiment(experiment.directory)
    three = changed(config, backend="torchrun", num_workers=3, batch_size="auto")
    with pytest.raises(ExperimentError, match=r"divisor of 16"):
        resumed(three)
    assert experiment.config(config) == own


def test_an_experiment_without_its_first_stage_can_not_be_resumed(config: LoadedConfig) -> None:
    open_experiment(config, "stopped", "run-1")
    with pytest.raises(ExperimentError, match="nothing to resume"):
        resumed(config)
