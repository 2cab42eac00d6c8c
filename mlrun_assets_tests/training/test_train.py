"""The stage around the trainer: one seed or several, and a checkpoint that is there already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlrun_assets.encoders.loading import digest_encoder
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import RecordError, TrainingError
from mlrun_assets.experiment import Experiment
from mlrun_assets.files import digest_directory
from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR
from mlrun_assets.records import CheckpointRecord
from mlrun_assets.training import fine_tuning
from mlrun_assets.training.job import FineTuningJob, FineTuningResult
from mlrun_assets.training.train import (
    TrainingRequest,
    remove_checkpoints,
    take_checkpoint,
    train_checkpoint,
)
from mlrun_assets_tests.examples import (
    RECIPE,
    checkpoint_record,
    dataset_record,
    sample_rows,
    seed_result,
    split_profile,
)

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

Run = Callable[..., CheckpointRecord]
FAST = RECIPE.model_copy(update={"epochs": 1, "class_weights": None})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An experiment with its validated splits."""
    (tmp_path / "exp_1" / "data").mkdir(parents=True)
    for split in ("train", "val"):
        file = tmp_path / "exp_1" / "data" / f"{split}.parquet"
        pl.DataFrame(sample_rows(split)[:24]).write_parquet(file)
    return tmp_path / "exp_1"


@pytest.fixture
def run(directory: Path, tiny_encoder: Path) -> Run:
    """Trains a recipe with these seeds in this process; ``lines`` collects the progress."""
    rows = {"farming": 8, "health": 8, "sports": 8}
    splits = {name: split_profile(rows, file=f"data/{name}.parquet") for name in ("train", "val")}
    dataset = dataset_record(rows).model_copy(update={"splits": splits})
    request = TrainingRequest((), resolve_encoder(str(tiny_encoder), None, directory), ())

    def in_this_process(job: FineTuningJob) -> FineTuningResult:
        return fine_tuning.fine_tune(job)

    def train(
        *seeds: int,
        at: Path = directory,
        data: dict[str, Any] | None = None,
        asked: dict[str, Any] | None = None,
        lines: list[str] | None = None,
        **recipe: Any,
    ) -> CheckpointRecord:
        recipes = tuple(FAST.model_copy(update={"seed": seed, **recipe}) for seed in seeds)
        given = replace(request, recipes=recipes, **(asked or {}))
        read = dataset.model_copy(update=data or {})
        progress = [].append if lines is None else lines.append
        return train_checkpoint(at, read, given, in_this_process, progress)

    return train


def assert_kept(again: CheckpointRecord, record: CheckpointRecord) -> None:
    assert again == record.model_copy(update={"peak_memory_mb": again.peak_memory_mb})


def test_one_seed_works_in_the_directories_of_the_experiment(directory: Path, run: Run) -> None:
    record = run(1)
    assert (record.seed, record.model_dir) == (1, "model")
    assert [(seed.seed, seed.model_dir) for seed in record.seeds] == [(1, "model")]
    assert record.digest == record.seeds[0].digest == digest_directory(directory / "model")
    assert {path.name for path in directory.iterdir()} == {"checkpoints", "data", "logs", "model"}
    remove_checkpoints(directory)
    assert not (directory / "checkpoints").exists()
    assert (directory / "logs" / "metrics.jsonl").is_file()


def test_several_seeds_each_have_theirs_and_the_best_on_val_is_the_model(
    directory: Path, run: Run
) -> None:
    record = run(2, 1)
    assert [seed.seed for seed in record.seeds] == [2, 1]
    best = min(record.seeds, key=lambda seed: (-seed.val_f1_macro, seed.val_loss))
    assert record.seed == best.seed
    assert record.digest == best.digest == digest_directory(directory / "model")
    kept = directory / "model" / "model.safetensors"
    assert kept.samefile(directory / best.model_dir / "model.safetensors")
    assert record.history[0].val_f1_macro == best.val_f1_macro
    for each in record.seeds:
        assert (directory / "logs" / f"seed-{each.seed}" / "metrics.jsonl").is_file()
        assert each.model_dir == f"seeds/{each.seed}/model"
        assert digest_directory(directory / each.model_dir) == each.digest
    assert not (directory / "checkpoints").exists()
    alone = run(1)
    assert alone.digest == record.seeds[1].digest


def test_each_seed_of_an_ensemble_has_its_n_grams(directory: Path, run: Run) -> None:
    record = run(1, 2, ensemble=True, max_length=64)
    kept = next(seed for seed in record.seeds if seed.seed == record.seed)
    assert record.ensemble is not None
    assert kept.val_f1_macro == record.ensemble.val_f1_ensemble
    assert kept.val_accuracy == record.ensemble.val_accuracy_ensemble
    for model_dir in ("model", "seeds/1/model", "seeds/2/model"):
        assert (directory / model_dir / NGRAMS_DIR).is_dir()
    assert record.digest == digest_directory(directory / "model")
    assert_kept(run(1, 2, ensemble=True, max_length=64), record)


def test_a_run_killed_in_the_second_seed_ends_as_an_undisturbed_one(
    directory: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = directory.with_name("exp_2")
    shutil.copytree(directory, other)
    undisturbed = run(1, 2, at=other)
    real, trained = fine_tuning.fine_tune, list[int]()

    def killed_in_the_second(job: FineTuningJob) -> FineTuningResult:
        if trained == [1]:
            raise KeyboardInterrupt
        trained.append(job.recipe.seed)
        return real(job)

    monkeypatch.setattr(fine_tuning, "fine_tune", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(1, 2)
    assert not (directory / "model").exists()
    trained.append(0)
    resumed = run(1, 2)
    assert trained == [1, 0, 2]
    assert resumed.seed == undisturbed.seed
    assert resumed.history == undisturbed.history
    assert [seed.digest for seed in resumed.seeds] == [seed.digest for seed in undisturbed.seeds]


def test_data_that_is_not_ready_is_not_trained_on(run: Run) -> None:
    with pytest.raises(TrainingError, match="not ready"):
        run(1, data={"ready": False})


def test_an_encoder_of_other_files_than_planned_is_not_trained_on(
    directory: Path, run: Run, tiny_encoder: Path, tmp_path: Path
) -> None:
    files = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    encoder = resolve_encoder(str(files), None, tmp_path)
    digest = digest_encoder(encoder)[:23]  # as the plan notes it
    given = {"asked": {"encoder": encoder}, "encoder_digest": digest}
    tokenizer = files / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(TrainingError, match=r"the encoder's files differ .* new run") as raised:
        run(1, 2, **given)
    assert str(files) in str(raised.value) and digest in str(raised.value)
    assert {path.name for path in directory.iterdir()} == {"data"}
    shutil.copy(tiny_encoder / "tokenizer.json", tokenizer)
    assert run(1, 2, **given).steps


# Reuse of an earlier checkpoint


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An experiment with two seeds, of which the second was kept."""
    directory, digests = tmp_path / "exp_1", dict[str, str]()
    for name, content in (("seeds/1/model", "1"), ("seeds/2/model", "2"), ("model", "2")):
        (directory / name).mkdir(parents=True)
        (directory / name / "model.safetensors").write_text(content)
        digests[name] = digest_directory(directory / name)
    seeds = tuple(
        seed_result(seed, model_dir=f"seeds/{seed}/model", digest=digests[f"seeds/{seed}/model"])
        for seed in (1, 2)
    )
    Experiment(directory).save(checkpoint_record(digest=digests["model"], seed=2, seeds=seeds))
    return directory


def test_an_earlier_checkpoint_is_taken_and_takes_no_room(
    earlier: Path, tmp_path: Path, run: Run
) -> None:
    lines: list[str] = []
    # The splits are not there: whoever trains fails.
    record = run(1, at=tmp_path / "exp_2", asked={"reuse": "exp_1"}, lines=lines)
    assert lines == ["training: the checkpoint of exp_1 is reused"]
    kept = Experiment(earlier).load(CheckpointRecord)
    assert record == kept.model_copy(update={"reused_from": "exp_1"})
    for model in ("model", "seeds/1/model", "seeds/2/model"):
        taken = tmp_path / "exp_2" / model
        assert digest_directory(taken) == digest_directory(earlier / model)
        assert (taken / "model.safetensors").samefile(earlier / model / "model.safetensors")


def test_a_checkpoint_that_is_gone_is_trained_and_that_is_told(directory: Path, run: Run) -> None:
    lines: list[str] = []
    record = run(1, asked={"reuse": "exp_gone"}, lines=lines)
    assert record.reused_from is None and record.not_reused is not None
    assert record.not_reused.startswith("exp_gone is not reused: ")
    assert "no such record" in record.not_reused
    assert lines[0] == f"training: {record.not_reused}"
    assert (directory / "model" / "model.safetensors").is_file()


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
