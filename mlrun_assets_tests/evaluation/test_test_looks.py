from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlrun_assets.config import Config, EvaluationConfig
from mlrun_assets.errors import ExperimentError
from mlrun_assets.evaluation.evaluation import LOOKS_FILE, MOST_RESAMPLES, corrected, note_look
from mlrun_assets.records import LookCount

CONFIG = Config(evaluation=EvaluationConfig(max_looks=3))


def look(directory: Path, model: str, test: str = "sha256:test") -> LookCount:
    return note_look(directory / "exp_1", (test, model), CONFIG)


def test_each_model_is_a_look_and_the_same_one_again_is_not(tmp_path: Path) -> None:
    assert [look(tmp_path, model).looks for model in ("a", "b", "a", "b", "c")] == [1, 2, 2, 2, 3]
    assert look(tmp_path, "a", "sha256:other").looks == 1
    lines = (tmp_path / LOOKS_FILE).read_text().splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["a", "b", "c", "a"]
    assert set(json.loads(lines[0])) == {"test", "model", "experiment", "at"}


def test_past_the_limit_the_miss_is_shared_by_all_looks(tmp_path: Path) -> None:
    uses = [look(tmp_path, model) for model in "abcd"]
    assert [use.used_up for use in uses] == [False, False, False, True]
    assert [use.confidence for use in uses] == pytest.approx([0.95, 0.95, 0.95, 1 - 0.05 / 4])
    assert look(tmp_path, "a").used_up  # the split is used up for the first model too


def test_a_worn_split_widens_the_intervals_of_the_evaluation() -> None:
    fresh = LookCount(looks=3, max_looks=3, confidence=0.95)
    assert corrected(CONFIG, fresh) is CONFIG
    worn = LookCount(looks=4, max_looks=3, confidence=0.9875)
    changed = corrected(CONFIG, worn).evaluation
    assert (changed.confidence, changed.resamples) == (0.9875, 8000)
    long = LookCount(looks=10_000, max_looks=3, confidence=0.999995)
    assert corrected(CONFIG, long).evaluation.resamples == MOST_RESAMPLES


@pytest.mark.parametrize(
    "broken", ['{"test": "sha256:te', "[1]\n", '{"test": 1, "model": []}\n', "\x00\n"]
)
def test_a_line_that_was_cut_off_stays_and_the_next_stands_alone(
    tmp_path: Path, broken: str
) -> None:
    look(tmp_path, "a")
    file = tmp_path / LOOKS_FILE
    before = file.read_bytes() + broken.encode()
    file.write_bytes(before)
    assert look(tmp_path, "b").looks == 2
    assert look(tmp_path, "c").looks == 3
    assert file.read_bytes().startswith(before)


def test_looks_at_once_are_all_written(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        looks = list(pool.map(lambda number: look(tmp_path, f"model {number}").looks, range(16)))
    assert sorted(looks) == list(range(1, 17))


def test_a_ledger_that_can_not_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / LOOKS_FILE).mkdir()
    with pytest.raises(ExperimentError, match=r"test_looks\.jsonl"):
        look(tmp_path, "a")
