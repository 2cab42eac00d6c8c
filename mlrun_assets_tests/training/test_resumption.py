"""Training that is killed, at any moment, ends as if nothing had happened once it is taken up."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.training.job import FineTuningJob, FineTuningResult
from mlrun_assets_tests import forks
from mlrun_assets_tests.examples import weights
from mlrun_assets_tests.training.killed import MOMENTS, job_of, short_texts

pytestmark = pytest.mark.slow

RESUMES_FROM = {
    "before the first checkpoint": None,
    "in a step": 12,
    "in a step, before the seal": 6,
    "while validating": 6,
    "while a checkpoint is written": 6,
    "between weights and seal": 6,
    "after the seal": 12,
    "while an old checkpoint is removed": 12,
    "after the last step": 18,
    "while the model is written": 18,
    "when the model is written": 18,
    "within an epoch": 10,
}
# The result and the job of a training.
Undisturbed = tuple[FineTuningResult, FineTuningJob]
PASSED_OVER = {
    "in a step, before the seal": ("checkpoint-12",),
    "while a checkpoint is written": ("checkpoint-12",),
    "between weights and seal": ("checkpoint-12",),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A directory in which a training was killed at each of the moments."""
    directory = tmp_path_factory.mktemp("killed")
    for moment in MOMENTS:
        words = (moment, str(directory), str(tiny_encoder))
        module, output = "mlrun_assets_tests.training.killed", directory / "printed"
        ended = forks.run(module, *words, cwd=directory, output=output)
        assert ended.returncode == -signal.SIGKILL, f"{moment}: {ended.stderr}"
    return directory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Undisturbed:
    """The same training, left alone."""
    job = job_of("left alone", tmp_path_factory.mktemp("undisturbed"), tiny_encoder)
    with short_texts():
        return fine_tune(job), job


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_ends_as_an_undisturbed_one(
    moment: str, killed: Path, tiny_encoder: Path, undisturbed: Undisturbed
) -> None:
    expected, job_left_alone = undisturbed
    job = job_of(moment, killed, tiny_encoder)
    with short_texts():
        resumed = fine_tune(job)
    assert resumed.resumed_from_step == RESUMES_FROM[moment]
    assert resumed.passed_over == PASSED_OVER.get(moment, ())
    # Within an epoch, the mean of other parts of the epoch is another float of the same number.
    margin = 1e-6 if moment == "within an epoch" else 0.0
    for entry, wanted in zip(resumed.history, expected.history, strict=True):
        assert entry.train_loss == pytest.approx(wanted.train_loss, rel=margin, abs=0.0)
        assert entry == wanted.model_copy(update={"train_loss": entry.train_loss})
    assert resumed.steps == expected.steps
    assert_same_weights(job_left_alone.model_dir, job.model_dir)
    assert not list(job.model_dir.parent.glob(".*.unfinished"))
    assert_logged_once(job)


def assert_same_weights(one: Path, other: Path) -> None:
    wanted, got = weights(one), weights(other)
    assert wanted.keys() == got.keys()
    assert all((wanted[name] == got[name]).all() for name in wanted)


def assert_logged_once(job: FineTuningJob) -> None:
    """Every step is once in the log, in order, and once in TensorBoard's curves."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(job.logs_dir))
    events.Reload()
    lines = (job.logs_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    for key, name in (("loss", "train/loss"), ("eval_f1_macro", "eval/f1_macro")):
        entries = [(entry["step"], entry[key]) for entry in logged if key in entry]
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(step, pytest.approx(value)) for step, value in entries]
        steps = [step for step, _ in entries]
        assert steps == sorted(set(steps))
