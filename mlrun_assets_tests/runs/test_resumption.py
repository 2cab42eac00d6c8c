"""What stands in an experiment that was stopped, and what is left of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment import Experiment, is_locked, unlock_experiment
from mlrun_assets.records import Status, TrainingPlan
from mlrun_assets.runs import MADE_FROM
from mlrun_assets.runs import stage as resuming
from mlrun_assets.runs.opening import open_experiment, sweep_abandoned
from mlrun_assets.runs.stage import Stage, resume_experiment, run_stage
from mlrun_assets_tests.examples import RECIPE, MakeProject, dataset_record

EVERYTHING_ELSE = tuple(MADE_FROM)[2:]


@pytest.fixture
def config(make_project: MakeProject) -> LoadedConfig:
    return load_config(make_project())


def stopped(config: LoadedConfig, *, validated: bool) -> Experiment:
    """An experiment of which the first one or two stages came to their end."""
    experiment = open_experiment(config, "stopped", "run-1")
    stage = Stage(experiment, config, "run-1", lambda _: None)
    with run_stage(stage, "experiment"):
        pass
    if validated:
        with run_stage(stage, "validated_dataset"):
            stage.save(dataset_record({"a": 5, "b": 5}))
    unlock_experiment(experiment.directory)
    return experiment


def quietly(config: LoadedConfig, wanted: str = "stopped") -> tuple[str, ...]:
    said: list[str] = []
    stages = resume_experiment(config, wanted, said.append).stages
    assert not said
    return stages


def test_what_came_to_its_end_is_not_left(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    assert quietly(config) == EVERYTHING_ELSE
    assert is_locked(experiment.directory)


def test_a_record_that_is_gone_or_broken_leaves_its_stage_and_what_is_made_from_it(
    config: LoadedConfig,
) -> None:
    experiment = stopped(config, validated=True)
    record = experiment.directory / "records" / "validated_dataset.json"
    record.write_text("{")
    assert quietly(config) == ("validated_dataset", *EVERYTHING_ELSE)
    record.unlink()
    assert quietly(config) == ("validated_dataset", *EVERYTHING_ELSE)


def test_a_stage_that_failed_is_left_with_what_is_made_from_it(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    with (
        pytest.raises(ZeroDivisionError),
        run_stage(Stage(experiment, config, "run-2", lambda _: None), "baseline_metrics"),
    ):
        _ = 1 / 0
    assert experiment.manifest.status is Status.FAILED
    assert quietly(config) == EVERYTHING_ELSE


def test_the_registry_says_that_it_runs_again(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    (swept,) = sweep_abandoned(config)
    assert swept.manifest.status is Status.PARTIAL
    resume_experiment(config, experiment.id, print)
    with run_stage(Stage(experiment, config, "run-2", lambda _: None), "training_plan"):
        assert experiment.manifest.status is Status.RUNNING
        registry = (config.reports_dir / "_registry.md").read_text().splitlines()
        lines = [line for line in registry if experiment.manifest.report in line]
        assert lines == [f"- {experiment.manifest.report} | Running | resumed"]


def test_rows_that_were_validated_are_kept_whatever_the_files_say_now(config: LoadedConfig) -> None:
    stopped(config, validated=True)
    add_a_row(config)
    said: list[str] = []
    assert resume_experiment(config, "stopped", said.append).stages == EVERYTHING_ELSE
    assert [line[:36] for line in said] == ["the files of val have changed since "]


def test_data_that_changed_before_it_was_validated_is_another_experiment(
    config: LoadedConfig,
) -> None:
    stopped(config, validated=False)
    assert quietly(config) == ("validated_dataset", *EVERYTHING_ELSE)
    add_a_row(config)
    with pytest.raises(ExperimentError, match=r"files of val have changed .* start a new run"):
        quietly(config)


def add_a_row(config: LoadedConfig) -> None:
    with (config.directory / "data" / "val.jsonl").open("a") as file:
        file.write('{"text": "x", "label": "health"}\n')


ON_A_CLUSTER = {"backend": "ray", "num_workers": 2, "ray_address": "gone:6379"}
PLAN = TrainingPlan(
    recipe=RECIPE.model_copy(update={"batch_size": 16}),
    recipe_digest="sha256:recipe",
    seeds=(RECIPE.seed,),
    choices=(),
    advice=(),
    seen_before=(),
)


def changed(config: LoadedConfig, **training: Any) -> LoadedConfig:
    section = config.settings.training.model_copy(update=training)
    whole = config.settings.model_copy(update={"training": section})
    return config.model_copy(update={"settings": whole})


def test_what_trains_is_what_the_config_says_now(config: LoadedConfig) -> None:
    experiment = stopped(changed(config, **ON_A_CLUSTER), validated=True)
    said: list[str] = []
    assert resume_experiment(config, "stopped", said.append).stages == EVERYTHING_ELSE
    assert said == [
        f"{experiment.id} trains with the settings of the current config: training.backend is "
        "inline instead of ray, training.num_workers is 1 instead of 2, training.ray_address is "
        "unset instead of gone:6379"
    ]
    assert experiment.config(config) == config
    assert quietly(config) == EVERYTHING_ELSE


def test_nothing_but_what_trains_is_taken_from_the_config(config: LoadedConfig) -> None:
    experiment = stopped(changed(config, epochs=3, **ON_A_CLUSTER), validated=True)
    said: list[str] = []
    resume_experiment(changed(config, epochs=7, seed=5), "stopped", said.append)
    assert len(said) == 2 and said[1].startswith("the config has changed since")
    assert experiment.config(config) == changed(config, epochs=3)


def test_what_trained_is_kept_where_training_has_ended(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster = changed(config, **ON_A_CLUSTER)
    experiment = stopped(on_a_cluster, validated=True)
    monkeypatch.setattr(resuming, "_stages_left", lambda _: ("evaluation_metrics",))
    said: list[str] = []
    resume_experiment(config, "stopped", said.append)
    assert [line.split(" since")[0] for line in said] == ["the config has changed"]
    assert experiment.config(config) == on_a_cluster


@pytest.mark.parametrize("planned", [False, True])
def test_workers_that_can_not_share_a_batch_are_not_taken(
    config: LoadedConfig, planned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = changed(config, batch_size="auto" if planned else 16)
    experiment = stopped(own, validated=True)
    if planned:
        stage = Stage(experiment, own, "run-1", lambda _: None)
        with run_stage(stage, "training_plan"):
            stage.save(PLAN)
        unlock_experiment(experiment.directory)
    three = changed(config, backend="torchrun", num_workers=3, batch_size="auto")
    with pytest.raises(ExperimentError, match=r"divisor of 16"):
        resume_experiment(three, "stopped", print)
    assert experiment.config(config) == own


def test_one_that_was_stopped_while_it_was_opened_has_nothing_to_go_on_with(
    config: LoadedConfig,
) -> None:
    experiment = open_experiment(config, "stopped", "run-1")
    with pytest.raises(ExperimentError, match="nothing to resume"):
        resume_experiment(config, experiment.id, print)


def test_one_that_another_process_works_on_is_left_to_it(config: LoadedConfig) -> None:
    experiment = stopped(config, validated=True)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mlrun_assets.experiment import lock_experiment\n"
        "lock_experiment(Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(experiment.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ExperimentError, match="another process works on this experiment"):
            resume_experiment(config, "stopped", print)
        process.communicate("")


def test_no_such_experiment(config: LoadedConfig, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no experiment `nobody`"):
        resume_experiment(config, "nobody", print)
