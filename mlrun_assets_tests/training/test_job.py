"""Several seeds: each trained once, the best on val chosen. Training itself is a stand-in here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlrun_assets.errors import TrainingError
from mlrun_assets.records import EnsembleRecord
from mlrun_assets.training.job import (
    FineTuningJob,
    FineTuningResult,
    FinishedFineTuning,
    best_on_val,
    find_finished,
    train_seeds,
)
from mlrun_assets_tests.examples import changed, fine_tuning_result, tiny_job

SEEDS = (13, 42, 87)


class Trainer:
    """Writes a model that contains its seed; stops before the seed ``killed_at``."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.trained: list[int] = []

    def __call__(self, job: FineTuningJob) -> FineTuningResult:
        if job.recipe.seed == self.killed_at:
            raise TrainingError("killed")
        self.trained.append(job.recipe.seed)
        job.checkpoints_dir.mkdir(parents=True)
        job.model_dir.mkdir(parents=True, exist_ok=True)
        (job.model_dir / "model.safetensors").write_text(f"weights of {job.recipe.seed}")
        return fine_tuning_result(job.recipe.seed / 100)


def record_of(job: FineTuningJob) -> Path:
    return job.model_dir.with_name("finished.json")


def finished(job: FineTuningJob) -> object:
    return find_finished(FinishedFineTuning, job, record_of(job), job.model_dir)


@pytest.fixture
def jobs(tmp_path: Path, tiny_encoder: Path) -> list[FineTuningJob]:
    return [changed(tiny_job(tmp_path / str(seed), tiny_encoder), seed=seed) for seed in SEEDS]


def ignore(_: str) -> None:
    pass


def test_each_seed_is_trained_and_keeps_its_model(jobs: list[FineTuningJob]) -> None:
    lines: list[str] = []
    trained = train_seeds(jobs, Trainer(), lines.append)
    assert [each.job.recipe.seed for each in trained] == list(SEEDS)
    assert len({each.digest for each in trained}) == 3
    assert lines[1] == "training: seed 42, 2 of 3"
    for job in jobs:
        assert not job.checkpoints_dir.exists()
        assert record_of(job).is_file()


def test_a_seed_that_is_finished_is_not_trained_again(jobs: list[FineTuningJob]) -> None:
    killed = Trainer(killed_at=87)
    with pytest.raises(TrainingError):
        train_seeds(jobs, killed, ignore)
    again, lines = Trainer(), list[str]()
    resumed = train_seeds(jobs, again, lines.append)
    assert (killed.trained, again.trained) == ([13, 42], [87])
    assert lines[0] == "training: seed 13, 1 of 3, was trained before"
    assert [each.result for each in resumed] == [fine_tuning_result(seed / 100) for seed in SEEDS]


def test_a_seed_is_trained_again_where_anything_of_it_changed(jobs: list[FineTuningJob]) -> None:
    train_seeds(jobs, Trainer(), ignore)
    assert finished(jobs[0])
    assert finished(replace(jobs[0], data_digest="sha256:other")) is None
    assert finished(replace(jobs[0], labels=("a", "c"))) is None
    (jobs[1].model_dir / "model.safetensors").write_text("cut off")
    record_of(jobs[2]).write_text('{"job": ')
    again = Trainer()
    train_seeds(jobs, again, ignore)
    assert again.trained == [42, 87]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.7, 0.5), (0.8, 0.9), (0.75, 0.1)], 1),
        ([(0.8, 0.5), (0.8, 0.4), (0.8, 0.6)], 1),
        ([(0.8, 0.5), (0.8, 0.5), (0.7, 0.5)], 0),
    ],
)
def test_the_best_on_val_is_chosen_and_of_equals_the_lower_loss(
    jobs: list[FineTuningJob], scores: list[tuple[float, float]], best: int
) -> None:
    given = dict(zip(SEEDS, scores, strict=True))

    class Scored(Trainer):
        def __call__(self, job: FineTuningJob) -> FineTuningResult:
            super().__call__(job)
            return fine_tuning_result(*given[job.recipe.seed])

    assert best_on_val(train_seeds(jobs, Scored(), ignore)).job.recipe.seed == SEEDS[best]


def test_an_ensemble_counts_with_its_own_scores(jobs: list[FineTuningJob]) -> None:
    ensemble = EnsembleRecord(
        ngram_model="linear SVM",
        encoder_weight=1.0,
        ngram_weight=2.0,
        val_f1_encoder=0.2,
        val_f1_ngrams=0.7,
        val_f1_ensemble=0.9,
        val_accuracy_ensemble=0.95,
    )

    class WithEnsemble(Trainer):
        def __call__(self, job: FineTuningJob) -> FineTuningResult:
            plain = super().__call__(job)
            return replace(plain, ensemble=ensemble) if job.recipe.seed == 13 else plain

    train_seeds(jobs, WithEnsemble(), ignore)
    trained = train_seeds(jobs, Trainer(killed_at=13), ignore)
    assert trained[0].result.ensemble == ensemble
    assert best_on_val(trained).job.recipe.seed == 13
    assert trained[0].val_scores == (0.9, 0.95)
