"""What is seen of a training while it goes on: steps and epochs; trackers."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlrun_assets.errors import TrainingError
from mlrun_assets.progress import Task, shown_by
from mlrun_assets.training import progress
from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.training.progress import finish_wandb_run, resolve_trackers
from mlrun_assets_tests.examples import changed, tiny_job


@pytest.fixture
def job(tmp_path: Path, tiny_encoder: Path) -> FineTuningJob:
    return changed(tiny_job(tmp_path, tiny_encoder), epochs=2)


class Seen:
    """A view that keeps what it is shown."""

    def __init__(self) -> None:
        self.figures: list[str] = []
        self.ended = 0

    def say(self, stage: str, line: str) -> None:
        raise AssertionError(line)

    def begin(self, stage: str) -> None:
        raise AssertionError(stage)

    def show(self, task: Task) -> None:
        self.figures.append(task.figures)

    def end(self, task: Task) -> None:
        self.ended += 1


def test_every_step_is_shown_and_a_line_for_every_epoch(
    job: FineTuningJob, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    seen = Seen()
    with shown_by(seen):
        fine_tune(replace(job, report_to=()), lines.append)
    assert [file.name for file in job.logs_dir.iterdir()] == ["metrics.jsonl"]
    assert lines[0] == "training: 12 steps, 2 epochs"
    assert sum(line.startswith("training: epoch ") for line in lines) == 2
    steps = [shown for shown in seen.figures if shown.endswith(tuple("0123456789"))]
    assert re.fullmatch(r"12/12 steps, .*/s, 0:00 left, loss \d\.\d+", steps[-1])
    assert seen.figures[0] == "0/12 steps" and seen.ended == 1
    assert capsys.readouterr() == ("", "")


def test_a_tracker_that_is_not_there_is_one_error_before_training(job: FineTuningJob) -> None:
    with pytest.raises(TrainingError, match=r"knows no tracker `nobody`; it knows .*tensorboard"):
        fine_tune(replace(job, report_to=("tensorboard", "nobody")))
    assert not job.logs_dir.exists()


def test_a_tracker_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "get_available_reporting_integrations", lambda: ["tensorboard"])
    with pytest.raises(
        TrainingError, match=r"the package of `wandb` is not installed.*: tensorboard"
    ):
        resolve_trackers(("wandb",))
    assert resolve_trackers(("all", "tensorboard")) == ("tensorboard",)
    assert resolve_trackers(("none",)) == ()


def test_a_training_ends_the_run_that_wandb_opened_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb, ended = SimpleNamespace(run=None), list[int]()
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def end(exit_code: int) -> None:
        wandb.run = None
        ended.append(exit_code)

    def train(error: TrainingError | None = None) -> None:
        with finish_wandb_run():
            wandb.run = wandb.run or SimpleNamespace(finish=end)
            if error:
                raise error

    train()
    with pytest.raises(TrainingError, match="not finite"):
        train(TrainingError("not finite"))
    assert ended == [0, 1]
    wandb.run = SimpleNamespace(finish=end)
    train()
    assert wandb.run is not None, "it was opened by somebody else"
