from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlrun_assets.errors import RecordError
from mlrun_assets.experiment import Experiment
from mlrun_assets.files import digest_directory
from mlrun_assets.records import CheckpointRecord
from mlrun_assets.training.train import take_checkpoint
from mlrun_assets_tests.examples import checkpoint_record, seed_result


def write_model(directory: Path, weights: str) -> str:
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_text(weights)
    return digest_directory(directory)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An experiment with two seeds, of which the second was kept."""
    directory = tmp_path / "exp_1"
    digests = {seed: write_model(directory / f"seeds/{seed}/model", f"{seed}") for seed in (1, 2)}
    write_model(directory / "model", "2")
    seeds = tuple(
        seed_result(seed, model_dir=f"seeds/{seed}/model", digest=digest)
        for seed, digest in digests.items()
    )
    Experiment(directory).save(checkpoint_record(digest=digests[2], seed=2, seeds=seeds))
    return directory


def test_the_models_are_there_without_taking_room(earlier: Path, tmp_path: Path) -> None:
    record = take_checkpoint(earlier, tmp_path / "exp_2")
    assert record.reused_from == "exp_1"
    assert record.model_copy(update={"reused_from": None}) == Experiment(earlier).load(
        CheckpointRecord
    )
    for model in ("model", "seeds/1/model", "seeds/2/model"):
        taken = tmp_path / "exp_2" / model
        assert digest_directory(taken) == digest_directory(earlier / model)
        assert (taken / "model.safetensors").samefile(earlier / model / "model.safetensors")


@pytest.mark.parametrize("model", ["model", "seeds/1/model"])
@pytest.mark.parametrize("lost", ["gone", "changed"])
def test_a_model_that_is_not_what_it_was_is_not_taken(
    earlier: Path, tmp_path: Path, model: str, lost: str
) -> None:
    if lost == "gone":
        shutil.rmtree(earlier / model)
    else:
        (earlier / model / "model.safetensors").write_text("other")
    with pytest.raises(RecordError, match=f"{model}: missing, or not the files"):
        take_checkpoint(earlier, tmp_path / "exp_2")
    assert not (tmp_path / "exp_2").exists()


def test_an_experiment_that_is_gone_has_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such record"):
        take_checkpoint(tmp_path / "gone", tmp_path / "exp_2")
