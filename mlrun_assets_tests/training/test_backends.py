"""Jobs that other processes do: they agree with one process, and none of them is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import polars as pl
import psutil
import pytest

from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError, TrainingError
from mlrun_assets.training import processes
from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.training.job import FineTuningJob, FineTuningResult, JobFiles, JobRunner
from mlrun_assets.training.processes import (
    check_ray,
    launch,
    train_with_ray,
    train_with_torchrun,
)
from mlrun_assets_tests.examples import changed, fine_tuning_result, sample_rows
from mlrun_assets_tests.examples import weights as weights_of
from mlrun_assets_tests.training import test_fine_tuning

job = test_fine_tuning.job
TOLERANCE = 1e-4
"""On losses and scores: the sums of two processes are rounded in another order."""
WEIGHTS_TOLERANCE = 1e-3
"""Half a step of AdamW, which makes a whole one of any gradient, however near to zero."""


reported: list[str] = []
"""The lines about the progress of all jobs of this module."""


def torchrun(job: FineTuningJob) -> FineTuningResult:
    return train_with_torchrun(JobFiles.of(job), 2, reported.append)


def needs_ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")


def ray(job: FineTuningJob) -> FineTuningResult:
    needs_ray()
    return train_with_ray(JobFiles.of(job), 2, None, reported.append)


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


def test_a_job_travels_as_a_file_and_needs_a_result(job: FineTuningJob) -> None:
    handover = JobFiles.of(job)
    assert JobFiles(handover.directory).job() == job
    with pytest.raises(TrainingError, match=r"ended without a result.*output\.log") as raised:
        handover.outcome()
    # A resumed experiment takes the number of workers from the config, and keeps its batches.
    assert "lower training.num_workers and `mlrun-assets run --resume`" in str(raised.value)
    assert "start a new run with a smaller training.batch_size" in str(raised.value)


WORKER = """
import sys
from pathlib import Path
from mlrun_assets.training.job import JobFiles
handover = JobFiles(Path(sys.argv[1]))
handover.add_progress("step 1")
handover.add_progress("step 2")
handover.finish(handover.outcome())
"""


def test_progress_and_result_of_another_process_come_back(job: FineTuningJob) -> None:
    handover, result = JobFiles.of(job), fine_tuning_result(passed_over=("checkpoint-7",))
    handover.finish(result)
    lines: list[str] = []
    command = [sys.executable, "-c", WORKER, str(handover.directory)]
    assert launch(command, handover, {}, lines.append) == result
    assert lines == ["step 1", "step 2"]


def test_a_progress_line_that_is_still_being_written_is_left_out(job: FineTuningJob) -> None:
    handover = JobFiles.of(job)
    assert handover.progress_lines() == []
    handover.add_progress("step 1 — loss 0.5")
    with (handover.directory / "progress.txt").open("ab") as file:
        file.write("step 2 —".encode()[:-1])
    assert handover.progress_lines() == ["step 1 — loss 0.5"]


def test_the_first_error_is_the_one_that_comes_back(job: FineTuningJob) -> None:
    handover = JobFiles.of(job)
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
        with pytest.raises(TrainingError, match=r"nothing answers there: .*`ray start --head`"):
            check_ray(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.slow
def test_what_takes_connections_and_is_no_cluster() -> None:
    """Ray's driver would wait for 14 minutes; Ray asks by the address of this machine."""
    needs_ray()
    with socket.socket() as listening:
        listening.bind(("", 0))
        listening.listen()
        port = listening.getsockname()[1]
        begun = time.monotonic()
        with pytest.raises(TrainingError) as caught:
            check_ray(f"127.0.0.1:{port}", answer_seconds=6)
    assert time.monotonic() - begun < 12
    message = str(caught.value)
    assert message.startswith(f"training.ray_address 127.0.0.1:{port}: something listens there")
    assert "in 6 s" in message and "`ray start --head`" in message


CLUSTER = """
import ray
cluster = ray.init(num_cpus=1, include_dashboard=False)
print(cluster.address_info["gcs_address"], flush=True)
input()
"""


@contextmanager
def cluster(auth_mode: str) -> Iterator[str]:
    """The address of a Ray cluster that ends with the test."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **processes.QUIET, "RAY_AUTH_MODE": auth_mode},
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.communicate("\n")


@pytest.mark.slow
def test_a_cluster_that_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs_ray()
    token = tmp_path / "token"
    token.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with cluster("token") as address:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        check_ray(address)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(TrainingError, match=r"Set RAY_AUTH_MODE=token for the run too\.$"):
            check_ray(address)


@pytest.mark.slow
def test_a_driver_that_can_not_connect_names_the_key(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster may go between the question and the training."""
    needs_ray()

    lost = Mock(side_effect=ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6379"))
    monkeypatch.setattr("ray.init", lost)
    handover = JobFiles.of(job)
    monkeypatch.setattr("sys.argv", ["processes", str(handover.directory), "2", "head:6379"])
    monkeypatch.setattr(processes, "exit_with_launcher", lambda: None)
    with pytest.raises(SystemExit):
        processes.drive()
    with pytest.raises(
        TrainingError, match=r"training\.ray_address head:6379: Ray can't connect .*; give the port"
    ):
        handover.outcome()


@pytest.mark.slow
@both
def test_two_processes_train_what_one_does(steady: FineTuningJob, run: JobRunner) -> None:
    expected = fine_tune(steady)
    weights = weights_of(steady.model_dir)
    log = steady.logs_dir / "metrics.jsonl"
    lines = len(log.read_text().splitlines())
    shutil.rmtree(steady.model_dir)
    shutil.rmtree(steady.checkpoints_dir)
    reported.clear()
    found = run(steady)
    for one, other in zip(expected.history, found.history, strict=True):
        assert other.model_dump() == pytest.approx(one.model_dump(), abs=TOLERANCE)
    for name, weight in weights_of(steady.model_dir).items():
        assert abs(weight - weights[name]).max() < WEIGHTS_TOLERANCE
    assert (found.steps, found.tokens) == (expected.steps, expected.tokens)
    assert len(log.read_text().splitlines()) == lines
    assert reported == JobFiles(steady.logs_dir / "workers").progress_lines()
    assert any(line.startswith("training: epoch 3, ") for line in reported)


@pytest.mark.slow
@both
def test_an_error_of_a_worker_is_the_error(
    job: FineTuningJob, run: JobRunner, new_processes: NewProcesses
) -> None:
    hopeless = changed(job, learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(TrainingError, match=r"^the loss is not finite at step \d+, .* sample-"):
        run(hopeless)
    assert not new_processes()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error(
    job: FineTuningJob, new_processes: NewProcesses
) -> None:
    long = changed(job, epochs=4000)
    killer = kill_a_worker(long)
    with pytest.raises(TrainingError, match="ended without a result"):
        torchrun(long)
    killer.join()
    assert not new_processes()
    assert list(long.checkpoints_dir.glob("checkpoint-*"))


@pytest.mark.slow
def test_ray_goes_on_after_a_worker_died(job: FineTuningJob, new_processes: NewProcesses) -> None:
    needs_ray()
    longer = changed(job, epochs=60)
    killer = kill_a_worker(longer)
    found = ray(longer)
    killer.join()
    assert found.resumed_from_step
    assert found.steps == 60 * 6
    assert not new_processes()


def kill_a_worker(job: FineTuningJob) -> threading.Thread:
    """Kill one training process as soon as a checkpoint is sealed."""

    def wait() -> None:
        while not (list(job.checkpoints_dir.glob("*/seal.json")) and (found := workers())):
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
        words = process.cmdline()
    except psutil.NoSuchProcess:  # it has just ended
        return False
    # A worker of torchrun has one argument; Ray's driver has more.
    ours = words[-2:-1] == ["mlrun_assets.training.processes"]
    return (ours and "torch.distributed.run" not in words) or "RayTrainWorker" in " ".join(words)
