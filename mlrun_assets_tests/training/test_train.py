"""The stage around the trainer: one seed or several, and a checkpoint that is there already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.config import DeploymentConfig, parse_config
from mlrun_assets.encoders.loading import digest_encoder
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import RecordError, TrainingError
from mlrun_assets.experiment import Experiment, ExperimentPaths
from mlrun_assets.files import digest_directory
from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR
from mlrun_assets.records import SPLITS, CheckpointRecord
from mlrun_assets.training import fine_tuning
from mlrun_assets.training.job import FineTuningJob, FineTuningResult
from mlrun_assets.training.train import (
    TrainingRequest,
    remove_checkpoints,
    take_checkpoint,
    train_cheap,
    train_checkpoint,
)
from mlrun_assets_tests.examples import (
    LABELS,
    RECIPE,
    checkpoint_record,
    record_of,
    sample_rows,
    seed_result,
    weights,
    write_splits,
)

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

Run = Callable[..., CheckpointRecord]
FAST = RECIPE.model_copy(
    update={"epochs": 1, "class_weights": None, "candidates": ("encoder",), "pooling": "mean"}
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An experiment with its validated splits."""
    write_splits(tmp_path / "exp_1", {split: sample_rows(split)[:24] for split in SPLITS}, LABELS)
    return tmp_path / "exp_1"


@pytest.fixture
def run(directory: Path, tiny_encoder: Path) -> Run:
    """Trains a recipe with these seeds in this process; ``lines`` collects the progress."""
    dataset = write_splits(directory, {name: sample_rows(name)[:24] for name in SPLITS}, LABELS)
    encoder = resolve_encoder(str(tiny_encoder), None, directory)
    request = TrainingRequest((), encoder, parse_config("training: {report_to: []}"))

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
        baseline = record_of("baseline")
        if not given.reuse or at == directory:
            baseline = train_cheap(at, read, given)
        return train_checkpoint(at, read, baseline, given, progress)

    return train


def test_one_seed_works_in_the_directories_of_the_experiment(directory: Path, run: Run) -> None:
    record = run(1)
    tuned = record.fine_tuning
    assert tuned
    assert (tuned.seed, record.model_dir, record.chosen) == (1, "model", "encoder")
    assert [(seed.seed, seed.model_dir) for seed in tuned.seeds] == [(1, "encoder")]
    assert tuned.seeds[0].digest == digest_directory(directory / "encoder")
    assert record.digest == digest_directory(directory / "model")
    made = {"baseline", "checkpoints", "data", "encoder", "logs", "model", "records"}
    assert {path.name for path in directory.iterdir()} == made
    remove_checkpoints(directory)
    assert not (directory / "checkpoints").exists()
    assert (directory / "logs" / "metrics.jsonl").is_file()


def test_several_seeds_each_have_theirs_and_the_best_on_val_is_the_model(
    directory: Path, run: Run
) -> None:
    record = run(2, 1)
    tuned = record.fine_tuning
    assert tuned
    assert [seed.seed for seed in tuned.seeds] == [2, 1]
    best = min(tuned.seeds, key=lambda seed: (-seed.val_f1_macro, seed.val_loss))
    assert tuned.seed == best.seed
    assert record.digest == digest_directory(directory / "model")
    kept, source = weights(directory / "model"), weights(directory / best.model_dir)
    differ = {name for name in kept if (kept[name] != source[name]).any()}
    assert differ == {"classifier.weight", "classifier.bias"}  # the weight of the candidate
    assert tuned.history[0].val_f1_macro == best.val_f1_macro
    for each in tuned.seeds:
        assert (directory / "logs" / f"seed-{each.seed}" / "metrics.jsonl").is_file()
        assert each.model_dir == f"seeds/{each.seed}/model"
        assert digest_directory(directory / each.model_dir) == each.digest
    assert not (directory / "checkpoints").exists()
    alone = run(1)
    assert alone.fine_tuning and alone.fine_tuning.seeds[0].digest == tuned.seeds[1].digest


def test_finished_seeds_are_not_trained_again(directory: Path, run: Run) -> None:
    named = {"candidates": ("ngrams", "encoder+ngrams"), "max_length": 64}
    record = run(1, 2, **named)
    assert (directory / "model" / NGRAMS_DIR).is_dir()
    assert [each.name for each in record.candidates] == ["ngrams", "encoder+ngrams"]
    lines: list[str] = []
    assert run(1, 2, lines=lines, **named) == record
    assert [line.endswith("was trained before") for line in lines] == [True, True, False]


def test_a_run_killed_in_the_second_seed_ends_as_an_undisturbed_one(
    directory: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = directory.with_name("exp_2")
    shutil.copytree(directory, other)
    undisturbed = run(1, 2, at=other)
    real, trained = fine_tuning.fine_tune, list[int]()

    def killed_in_the_second(job: FineTuningJob, *more: Any) -> FineTuningResult:
        if trained == [1]:
            raise KeyboardInterrupt
        trained.append(job.recipe.seed)
        return real(job, *more)

    monkeypatch.setattr(fine_tuning, "fine_tune", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(1, 2)
    assert not (directory / "model").exists()
    trained.append(0)
    resumed = run(1, 2)
    assert trained == [1, 0, 2]
    again, wanted = resumed.fine_tuning, undisturbed.fine_tuning
    assert again and wanted
    assert (again.seed, again.history) == (wanted.seed, wanted.history)
    assert [seed.digest for seed in again.seeds] == [seed.digest for seed in wanted.seeds]


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
    assert not {path.name for path in directory.iterdir()} - {"baseline", "data", "records"}
    shutil.copy(tiny_encoder / "tokenizer.json", tokenizer)
    assert run(1, 2, **given).fine_tuning


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
    (directory / "records").mkdir()
    ExperimentPaths(directory).out_of_fold.write_bytes(b"probabilities")
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
    judged = ExperimentPaths(tmp_path / "exp_2").out_of_fold
    assert judged.read_bytes() == b"probabilities"
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
        take_checkpoint(earlier, tmp_path / "exp_2", DeploymentConfig())
    assert not (tmp_path / "exp_2").exists()
