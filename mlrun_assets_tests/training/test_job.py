"""Several seeds: each trained once, the best on val chosen. Training itself is a stand-in here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlrun_assets.errors import TrainingError
from mlrun_assets.training.job import (
    FineTuningJob,
    FineTuningResult,
    TrainedSeed,
    best_on_val,
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


@pytest.fixture
def jobs(tmp_path: Path, tiny_encoder: Path) -> list[FineTuningJob]:
    return [changed(tiny_job(tmp_path / str(seed), tiny_encoder), seed=seed) for seed in SEEDS]


def test_each_seed_is_trained_once_and_keeps_its_model(jobs: list[FineTuningJob]) -> None:
    killed, lines = Trainer(killed_at=87), list[str]()
    with pytest.raises(TrainingError):
        train_seeds(jobs, killed, lines.append)
    again = Trainer()
    resumed = train_seeds(jobs, again, lines.append)
    assert (killed.trained, again.trained) == ([13, 42], [87])
    assert lines[1] == "training: seed 42, 2 of 3"
    assert lines[3] == "training: seed 13, 1 of 3, was trained before"
    results = [fine_tuning_result(seed / 100) for seed in SEEDS]
    assert [(each.job, each.result) for each in resumed] == list(zip(jobs, results, strict=True))
    assert len({each.digest for each in resumed}) == 3
    assert not any(job.checkpoints_dir.exists() for job in jobs)


def test_a_seed_is_trained_again_where_anything_of_it_changed(jobs: list[FineTuningJob]) -> None:
    train_seeds(jobs, Trainer(), [].append)
    others = [
        replace(jobs[0], data_digest="sha256:other"),
        replace(jobs[1], labels=("a", "c")),
        jobs[2],
    ]
    again = Trainer()
    train_seeds(others, again, [].append)
    assert again.trained == [13, 42]
    (others[1].model_dir / "model.safetensors").write_text("cut off")
    others[2].model_dir.with_name("finished.json").write_text('{"job": ')
    train_seeds(others, again, [].append)
    assert again.trained == [13, 42, 42, 87]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.7, 0.5), (0.8, 0.9), (0.75, 0.1)], 1),
        ([(0.8, 0.5), (0.8, 0.4), (0.8, 0.6)], 1),
        ([(0.8, 0.5), (0.8, 0.5), (0.7, 0.5)], 0),
    ],
)
def test_the_best_on_val_has_the_highest_f1_then_the_lowest_loss(
    jobs: list[FineTuningJob], scores: list[tuple[float, float]], best: int
) -> None:
    trained = [
        TrainedSeed(job, fine_tuning_result(f1, loss), "")
        for job, (f1, loss) in zip(jobs, scores, strict=True)
    ]
    assert best_on_val(trained).job == jobs[best]
