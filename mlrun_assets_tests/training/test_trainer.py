"""The Trainer subclass: private interfaces, row order, and the error of every interruption."""

from __future__ import annotations

import inspect
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
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


def python_has_no_memory(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    raise MemoryError


def gpu_has_no_memory(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def assert_only_sound(job: FineTuningJob, *names: str) -> None:
    left = sorted(job.checkpoints_dir.iterdir())
    assert [checkpoint.name for checkpoint in left] == sorted(names)
    assert all(is_sound(checkpoint, job.digest) for checkpoint in left)
    assert not job.model_dir.exists()
    assert not list(job.model_dir.parent.glob(".*.unfinished"))


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


@pytest.mark.parametrize(("what", "name"), [(nan, "loss"), (no_slope, "gradient")])
def test_what_is_not_finite_names_step_and_rows(
    job: FineTuningJob, at_step: Callable[..., None], what: Any, name: str
) -> None:
    at_step(8, what)
    message = (
        rf"the {name} is not finite at step 8, in the batch \(8 rows x \d+ tokens\) of rows sample-"
    )
    with pytest.raises(TrainingError, match=message) as raised:
        fine_tune(job)
    assert "lower training.learning_rate, in a new run" in str(raised.value)
    assert_only_sound(job, "checkpoint-6")


def test_bf16_is_named_where_it_was_on(job: FineTuningJob, at_step: Callable[..., None]) -> None:
    at_step(2, nan)
    with pytest.raises(TrainingError, match=r"or set training\.bf16 to false"):
        fine_tune(changed(job, bf16=True))


def test_a_val_loss_that_is_not_finite_is_not_kept(
    job: FineTuningJob, at_step: Callable[..., None]
) -> None:
    at_step(None, nan)
    with pytest.raises(TrainingError, match=r"not finite at step 6, in a batch of the val split"):
        fine_tune(job)
    assert_only_sound(job)


@pytest.mark.parametrize("what", [too_large, python_has_no_memory, gpu_has_no_memory])
def test_memory_that_runs_out_names_the_batch(
    job: FineTuningJob, at_step: Callable[..., None], what: Any
) -> None:
    at_step(9, what)
    with pytest.raises(TrainingError, match=r"memory ran out at step 9, in the batch") as raised:
        fine_tune(job)
    assert "training.batch_size or model.max_length" in str(raised.value)
    assert_only_sound(job, "checkpoint-6")


def test_memory_that_runs_out_in_validation(
    job: FineTuningJob, at_step: Callable[..., None]
) -> None:
    at_step(None, too_large)
    with pytest.raises(TrainingError, match=r"in a batch of the val split \(16 rows x \d+ tokens"):
        fine_tune(job)


def test_other_errors_pass_as_they_are(job: FineTuningJob, at_step: Callable[..., None]) -> None:
    def fails(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("something else")

    at_step(2, fails)
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


def make_room() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize(
    ("room", "writer"),
    [(100_000, "the weights, by safetensors"), (200_000, "the moments, by torch")],
)
def test_a_full_disk_leaves_the_checkpoint_before(
    job: FineTuningJob, full_disk: Callable[[int, int], None], room: int, writer: str
) -> None:
    full_disk(1, room)
    with pytest.raises(TrainingError, match=r"no disk space left at step 12") as raised:
        fine_tune(job)
    assert str(job.checkpoints_dir.parent) in str(raised.value)
    assert "MiB are free" in str(raised.value)
    make_room()
    assert_only_sound(job, "checkpoint-6")
    assert fine_tune(job).resumed_from_step == 6


def test_a_full_disk_leaves_no_half_of_a_model(
    job: FineTuningJob, full_disk: Callable[[int, int], None]
) -> None:
    full_disk(3, 100_000)
    with pytest.raises(TrainingError, match=r"no disk space left at step 18"):
        fine_tune(job)
    assert not job.model_dir.exists()
    assert not list(job.model_dir.parent.glob(".*.unfinished"))
    make_room()
    assert fine_tune(job).resumed_from_step == 18
    assert job.model_dir.exists()
