"""The Trainer subclass: private interfaces, row order, and the error of every interruption."""

from __future__ import annotations

import errno
import inspect
import os
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.nn.functional import cross_entropy

from mlrun_assets.errors import TrainingError
from mlrun_assets.training import checkpoints
from mlrun_assets.training import trainer as loss
from mlrun_assets.training.checkpoints import is_sound, seal
from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.training.trainer import SeededLengthGroups, SingleGpuArguments
from mlrun_assets_tests.examples import changed, tiny_job


@pytest.fixture
def job(tmp_path: Path, tiny_encoder: Path) -> FineTuningJob:
    return tiny_job(tmp_path, tiny_encoder)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes something of the loss of one training step, or of the first loss in validation."""

    def make(step: int | None, what: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        calls = 0

        def counted(logits: torch.Tensor, labels: torch.Tensor, **settings: Any) -> torch.Tensor:
            nonlocal calls
            value = cross_entropy(logits, labels, **settings)
            calls += bool(settings)
            due = calls == step if settings else step is None
            return what(value, logits) if due else value

        monkeypatch.setattr(loss, "cross_entropy", counted)

    return make


def nan(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return value * float("nan")


def no_slope(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The same loss, with a root at zero: its gradient is not finite."""
    return value + (logits * 0).sum().sqrt()


def too_large(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.empty(2**55)


def raises(error: Exception) -> Callable[..., torch.Tensor]:
    def fail(*_: torch.Tensor) -> torch.Tensor:
        raise error

    return fail


def sound_checkpoints(job: FineTuningJob) -> list[str]:
    """The names of the checkpoints, when all are sound and there is no model, not even half."""
    left = sorted(job.checkpoints_dir.glob("*"))
    assert all(is_sound(checkpoint, job.digest) for checkpoint in left)
    assert not job.model_dir.exists()
    assert not list(job.model_dir.parent.glob(".*.unfinished"))
    return [checkpoint.name for checkpoint in left]


def test_the_private_interfaces_of_transformers_are_as_expected() -> None:
    """Fails loudly on an upgrade: see the docstring of the module `trainer`."""
    from transformers import Trainer
    from transformers.integrations import integration_utils
    from transformers.trainer_pt_utils import LengthGroupedSampler
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

    def parameters(function: Callable[..., Any]) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(Trainer._clip_grad_norm) == ["self", "model"]
    assert "self._clip_grad_norm(model)" in inspect.getsource(Trainer)
    assert parameters(Trainer._get_train_sampler) == ["self", "train_dataset"]
    assert "self._get_train_sampler" in inspect.getsource(Trainer.get_train_dataloader)
    assert {"batch_size", "lengths", "generator"} <= set(parameters(LengthGroupedSampler.__init__))
    assert EvalLoopOutput._fields[:3] == ("predictions", "label_ids", "metrics")
    assert "tensorboard" in integration_utils.INTEGRATION_TO_CALLBACK
    assert "tb_writer" in inspect.getsource(integration_utils.TensorBoardCallback.on_train_begin)
    assert PREFIX_CHECKPOINT_DIR == "checkpoint"


@pytest.mark.parametrize(("gpus", "used"), [(0, 0), (1, 1), (4, 1)])
def test_a_process_uses_at_most_one_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, used: int
) -> None:
    from transformers import TrainingArguments

    arguments = SingleGpuArguments(str(tmp_path), per_device_train_batch_size=8)
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda _: gpus))
    assert arguments.n_gpu == used
    assert arguments.train_batch_size == 8


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        torch.manual_seed(len(seen))  # what others draw does not matter
        sampler = SeededLengthGroups(lengths, 4, seed)
        sampler.set_epoch(epoch)
        seen.append(list(sampler))
        return seen[-1]

    seen: list[list[int]] = []
    lengths = [row % 7 for row in range(50)]
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(1, 0)), tuple(order(1, 1)), tuple(order(7, 0))}) == 3
    assert all(sorted(each) == list(range(50)) for each in seen)


def test_rows_of_like_length_stand_together() -> None:
    lengths = [row % 10 for row in range(80)]
    order = [lengths[row] for row in SeededLengthGroups(lengths, 8, 1)]
    spread = [max(order[at : at + 8]) - min(order[at : at + 8]) for at in range(8, 80, 8)]
    assert sum(spread) / len(spread) < 6


IN_VAL = r"in a batch of the val split \(16 rows x \d+ tokens"
IN_TRAIN = r"in the batch \(8 rows x \d+ tokens\) of rows sample-"


REMEDY = "batch_size or model.max_length, with training.freeze: embeddings, or with model.trim_v"


@pytest.mark.parametrize(
    ("step", "what", "message", "left"),
    [
        (8, nan, f"the loss is not finite at step 8, {IN_TRAIN}.*lower training.learning_rate", 6),
        (8, no_slope, f"the gradient is not finite at step 8, {IN_TRAIN}.*in a new run", 6),
        (None, nan, f"not finite at step 6, {IN_VAL}", None),
        (9, too_large, f"memory ran out at step 9, {IN_TRAIN}.*{REMEDY}", 6),
        (9, raises(MemoryError()), f"memory ran out at step 9, {IN_TRAIN}", 6),
        (9, raises(torch.OutOfMemoryError()), f"memory ran out at step 9, {IN_TRAIN}", 6),
        (None, too_large, f"memory ran out at step 7, {IN_VAL}", None),
    ],
)
def test_an_error_names_step_rows_and_remedy(
    job: FineTuningJob, at_step: Callable[..., None], step: Any, what: Any, message: str, left: Any
) -> None:
    at_step(step, what)
    with pytest.raises(TrainingError, match=message):
        fine_tune(job)
    assert sound_checkpoints(job) == ([f"checkpoint-{left}"] if left else [])


def test_bf16_is_named_where_it_was_on(job: FineTuningJob, at_step: Callable[..., None]) -> None:
    at_step(2, nan)
    with pytest.raises(TrainingError, match=r"or set training\.bf16 to false"):
        fine_tune(changed(job, bf16=True))


def test_other_errors_pass_as_they_are(job: FineTuningJob, at_step: Callable[..., None]) -> None:
    at_step(2, raises(RuntimeError("something else")))
    with pytest.raises(RuntimeError, match="something else"):
        fine_tune(job)


@pytest.mark.parametrize(("size", "named"), [(2, 2), (12, 10)])
def test_at_most_ten_rows_are_named(
    job: FineTuningJob, at_step: Callable[..., None], size: int, named: int
) -> None:
    at_step(1, nan)
    with pytest.raises(TrainingError) as raised:
        fine_tune(changed(job, batch_size=size))
    message = str(raised.value)
    assert f"the batch ({size} rows x " in message
    assert message.count("sample-") == named
    assert (" and 2 more: look at" in message) == (size > named)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Lets no file grow beyond some bytes once so many checkpoints are sealed.

    The system then refuses to write, as it does on a disk that is full.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sealed = 0

    def fill(sealed_before: int, room: int) -> None:
        def then_full(*arguments: Any) -> None:
            nonlocal sealed
            seal(*arguments)
            sealed += 1
            if sealed == sealed_before:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))

        monkeypatch.setattr(checkpoints, "seal", then_full)

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("sealed", "room", "step", "resumes"),
    [
        pytest.param(1, 100_000, 12, 6, id="the weights, by safetensors"),
        pytest.param(1, 200_000, 12, 6, id="the moments, by torch"),
        pytest.param(3, 100_000, 18, 18, id="the model"),
    ],
)
def test_a_full_disk_leaves_what_was_whole(
    job: FineTuningJob,
    full_disk: Callable[[int, int], None],
    sealed: int,
    room: int,
    step: int,
    resumes: int,
) -> None:
    full_disk(sealed, room)
    with pytest.raises(TrainingError, match=rf"no disk space left at step {step}") as raised:
        fine_tune(job)
    assert str(job.checkpoints_dir.parent) in str(raised.value)
    assert "MiB are free" in str(raised.value)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert f"checkpoint-{resumes}" in sound_checkpoints(job)
    assert fine_tune(job).resumed_from_step == resumes
    assert job.model_dir.exists()


def test_a_full_disk_under_the_curves_is_reported_once(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[bytes] = []

    def write(_: Any, data: bytes) -> None:
        written.append(data)
        if len(written) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", write)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    with pytest.raises(TrainingError, match="no disk space left"):
        fine_tune(replace(job, report_to=("tensorboard",)))
    assert len(written) == 11
    assert "Traceback" not in capsys.readouterr().err
    assert not any(
        type(each).__module__.startswith("tensorboard.") for each in threading.enumerate()
    )
