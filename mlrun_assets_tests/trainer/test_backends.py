"""Jobs that other processes do: they agree with one process, and none of them is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import psutil
import pytest

from mlrun_assets.encoders import resolve_encoder
from mlrun_assets.errors import EncoderError, TrainingError
from mlrun_assets.records import EpochMetrics
from mlrun_assets.trainer.handover import Handover
from mlrun_assets.trainer.job import FineTuned, FineTuningJob, Runner
from mlrun_assets.trainer.ray_train import check_ray, train_with_ray
from mlrun_assets.trainer.torchrun import train_with_torchrun
from mlrun_assets_tests.conftest import sample_rows
from mlrun_assets_tests.trainer import test_fine_tuning
from mlrun_assets_tests.trainer.tiny_job import changed
from mlrun_assets_tests.trainer.tiny_job import weights as weights_of

job = test_fine_tuning.job
TOLERANCE = 1e-4
"""On losses and scores: the sums of two processes are rounded in another order."""
WEIGHTS_TOLERANCE = 1e-3
"""Half a step of AdamW, which makes a whole one of any gradient, however near to zero."""


def torchrun(job: FineTuningJob) -> FineTuned:
    return train_with_torchrun(Handover.of(job), 2, {})


def ray(job: FineTuningJob) -> FineTuned:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    return train_with_ray(Handover.of(job), 2, None, {})


both = pytest.mark.parametrize("run", [torchrun, ray])
NewProcesses = Callable[[], set[psutil.Process]]


@pytest.fixture
def new_processes() -> NewProcesses:
    """Children of this process that were not there when the test began."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: set(psutil.Process().children(recursive=True)) - before


@pytest.fixture
def steady(job: FineTuningJob, tmp_path: Path) -> FineTuningJob:
    """A job without dropout, which each process draws for itself; its last batch has two rows."""
    encoder = tmp_path / "steady"
    shutil.copytree(job.encoder.location, encoder)
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config))
    pl.DataFrame(sample_rows("train")[:50]).write_parquet(job.train_file)
    return replace(job, encoder=resolve_encoder(str(encoder), None, tmp_path))


def tuned() -> FineTuned:
    epoch = EpochMetrics(
        epoch=1.0, step=7, train_loss=None, val_loss=1.0, val_accuracy=0.5, val_f1_macro=0.4
    )
    return FineTuned((epoch,), 1.0, 7, False, None, ("checkpoint-7",), 9, 90, 1.5, 600.0, None, 2)


def test_a_job_and_its_result_travel_as_files(job: FineTuningJob) -> None:
    handover = Handover.of(job)
    assert Handover(handover.directory).job() == job
    handover.finish(tuned())
    assert handover.outcome() == tuned()
    with pytest.raises(TrainingError, match=r"ended without a result.*output\.log") as said:
        Handover.of(job).outcome()
    # A resumed experiment takes the number of workers from the config, and keeps its batches.
    assert "lower training.num_workers and `mlrun-assets run --resume`" in str(said.value)
    assert "start a new run with a smaller training.batch_size" in str(said.value)


def test_the_first_error_is_the_one_that_comes_back(job: FineTuningJob) -> None:
    handover = Handover.of(job)
    handover.fail(EncoderError("no such model: choose another"))
    handover.fail(TrainingError("the others are gone"))
    with pytest.raises(EncoderError, match=r"^no such model: choose another$"):
        handover.outcome()


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"pip install 'mlrun-assets\[ray\]'"):
        check_ray(None)


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(TrainingError, match=r"no Ray cluster answers there"):
            check_ray(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.slow
@both
def test_two_processes_train_what_one_does(steady: FineTuningJob, run: Runner) -> None:
    from mlrun_assets.trainer.fine_tuning import fine_tune

    expected = fine_tune(steady)
    weights = weights_of(steady.model_dir)
    log = steady.logs_dir / "metrics.jsonl"
    lines = len(log.read_text().splitlines())
    shutil.rmtree(steady.model_dir)
    shutil.rmtree(steady.checkpoints_dir)
    found = run(steady)
    for one, other in zip(expected.history, found.history, strict=True):
        assert other.model_dump() == pytest.approx(one.model_dump(), abs=TOLERANCE)
    for name, weight in weights_of(steady.model_dir).items():
        assert abs(weight - weights[name]).max() < WEIGHTS_TOLERANCE
    assert (found.steps, found.tokens) == (expected.steps, expected.tokens)
    assert len(log.read_text().splitlines()) == lines
    assert "training: step 21 of 21" in (steady.logs_dir / "workers/output.log").read_text()


@pytest.mark.slow
@both
def test_an_error_of_a_worker_is_the_error(
    job: FineTuningJob, run: Runner, new_processes: NewProcesses
) -> None:
    hopeless = changed(job, learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(TrainingError, match=r"^the loss is not finite at step \d+, .* sample-"):
        run(hopeless)
    with pytest.raises(EncoderError):
        run(replace(job, encoder=replace(job.encoder, location=str(job.logs_dir / "absent"))))
    assert not new_processes()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error(
    job: FineTuningJob, new_processes: NewProcesses
) -> None:
    long = changed(job, epochs=4000)
    killer = kill_a_worker(long, lambda: list(long.checkpoints_dir.glob("*/seal.json")))
    with pytest.raises(TrainingError, match="ended without a result"):
        torchrun(long)
    killer.join()
    assert not new_processes()
    assert list(long.checkpoints_dir.glob("checkpoint-*"))


@pytest.mark.slow
def test_ray_goes_on_after_a_worker_died(job: FineTuningJob, new_processes: NewProcesses) -> None:
    longer = changed(job, epochs=60)
    killer = kill_a_worker(longer, lambda: list(longer.checkpoints_dir.glob("*/seal.json")))
    found = ray(longer)
    killer.join()
    assert found.resumed_from_step
    assert found.steps == 60 * 6
    assert not new_processes()


def kill_a_worker(job: FineTuningJob, ready: Callable[[], object]) -> threading.Thread:
    """Kill one training process as soon as it is ``ready``."""

    def wait() -> None:
        while not (ready() and (found := workers())):
            time.sleep(0.02)
        os.kill(found[-1], signal.SIGKILL)

    killer = threading.Thread(target=wait, daemon=True)
    killer.start()
    return killer


def workers() -> list[int]:
    """The ids of the processes below this one that train."""
    return [each.pid for each in psutil.Process().children(recursive=True) if trains(each)]


def trains(process: psutil.Process) -> bool:
    try:
        said = " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended
        return False
    ours = "mlrun_assets.trainer.worker" in said and "torch.distributed.run" not in said
    return ours or "RayTrainWorker" in said
