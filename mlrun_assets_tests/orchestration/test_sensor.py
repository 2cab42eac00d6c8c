from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.experiment import Experiment, unlock_experiment
from mlrun_assets.orchestration import automation
from mlrun_assets.orchestration.automation import Cursor, ml_run, new_data_sensor
from mlrun_assets.orchestration.resources import VERDICT_TAG, MlRun
from mlrun_assets.records import Verdict
from mlrun_assets.runs.opening import open_experiment
from mlrun_assets_tests.examples import MakeProject, write_rows


class Ticks:
    """Calls the sensor as the daemon would: each tick with the cursor of the one before."""

    def __init__(self, config: Path) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.config = config
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = new_data_sensor(context, ml_run=MlRun(config_file=str(self.config)))
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def fired(self) -> list[str | None]:
        return [request.run_key for request in self.tick().run_requests or []]

    def ended(self, run_key: str | None, status: dg.DagsterRunStatus, **tags: str) -> str:
        """Add the run that was asked for; returns its id."""
        tags["dagster/run_key"] = str(run_key)
        run = dg.DagsterRun(job_name="ml_run", status=status, tags=tags)
        return self.instance.add_run(run).run_id


@pytest.fixture
def ticks(make_project: MakeProject) -> Ticks:
    return Ticks(make_project())


def test_fires_when_two_ticks_agree_and_then_rests_without_reading(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ticks.fired() == []
    (key,) = ticks.fired()
    assert str(key).endswith("#1")
    ticks.ended(key, dg.DagsterRunStatus.SUCCESS)
    monkeypatch.setattr(automation, "digest_sources", lambda _: pytest.fail("read again"))
    assert ticks.fired() == []


def test_a_file_that_is_still_being_written_is_no_data_yet(ticks: Ticks) -> None:
    ticks.fired()
    train = ticks.config.parent / "data/train.jsonl"
    with train.open("a") as file:
        file.write('{"text": "hore u soco", "label": "sports"}\n')
    assert ticks.fired() == []
    assert len(ticks.fired()) == 1


def test_a_touched_file_with_the_same_content_never_runs_twice(ticks: Ticks) -> None:
    ticks.fired()
    key = ticks.fired()[0]
    ticks.ended(key, dg.DagsterRunStatus.SUCCESS)
    os.utime(ticks.config.parent / "data/train.jsonl", (1, 1))
    assert ticks.fired() == []
    assert ticks.fired() == []


def test_a_failed_run_is_tried_once_more_and_no_more(ticks: Ticks) -> None:
    ticks.fired()
    first = ticks.fired()[0]
    assert ticks.fired() == []
    ticks.ended(first, dg.DagsterRunStatus.FAILURE)
    second = ticks.fired()[0]
    assert str(second) == str(first).replace("#1", "#2")
    ticks.ended(second, dg.DagsterRunStatus.FAILURE)
    assert ticks.fired() == []


def test_data_that_blocks_is_not_tried_again(ticks: Ticks) -> None:
    ticks.fired()
    verdict = {VERDICT_TAG: str(Verdict.BLOCKED)}
    ticks.ended(ticks.fired()[0], dg.DagsterRunStatus.FAILURE, **verdict)
    assert ticks.fired() == []


def test_new_content_fires_again(ticks: Ticks) -> None:
    ticks.fired()
    first = ticks.fired()[0]
    ticks.ended(first, dg.DagsterRunStatus.SUCCESS)
    write_rows(ticks.config.parent / "data/val.jsonl", [{"text": "cusub", "label": "sports"}])
    ticks.fired()
    assert ticks.fired()[0] not in (None, first)


def opened(ticks: Ticks) -> Experiment:
    """A run by hand, which has read the files as they are."""
    experiment = open_experiment(load_config(ticks.config), None, "by-hand")
    unlock_experiment(experiment.directory)
    return experiment


def change(ticks: Ticks, split: str = "val") -> bytes:
    """Other content for a split; returns the earlier content."""
    file = ticks.config.parent / f"data/{split}.jsonl"
    before = file.read_bytes()
    file.write_bytes(before + file.read_bytes()[: before.index(b"\n") + 1])
    return before


def test_content_that_was_run_by_hand_starts_no_run(ticks: Ticks) -> None:
    experiment = opened(ticks)
    assert ticks.fired() == []
    assert experiment.id in str(ticks.tick().skip_reason)
    change(ticks)
    assert ticks.fired() == []
    (request,) = ticks.tick().run_requests or []
    assert "attempt 1 of 2" in request.tags[automation.REASON_TAG]


@pytest.mark.parametrize("by_hand", [False, True])
def test_content_that_comes_back_starts_no_run(ticks: Ticks, by_hand: bool) -> None:
    if by_hand:
        seen = opened(ticks).id
    ticks.fired()
    first = ticks.fired()
    if not by_hand:
        seen = ticks.ended(first[0], dg.DagsterRunStatus.SUCCESS)
    before = change(ticks)
    ticks.fired()
    assert len(ticks.fired()) == 1
    (ticks.config.parent / "data/val.jsonl").write_bytes(before)
    ticks.fired()
    assert seen in str(ticks.tick().skip_reason)


def test_a_changed_config_starts_no_run(ticks: Ticks) -> None:
    opened(ticks)
    ticks.tick(), ticks.tick()
    config = json.loads(ticks.config.read_text())
    ticks.config.write_text(json.dumps({**config, "training": {"epochs": 1, "seed": 5}}))
    assert "a changed config starts no run" in str(ticks.tick().skip_reason)
    assert ticks.fired() == []


def test_local_files_beside_urls_are_compared(ticks: Ticks) -> None:
    config = json.loads(ticks.config.read_text())
    config["data"]["train_path"] = "memory://train.jsonl"
    ticks.config.write_text(json.dumps(config))
    opened(ticks)
    ticks.tick()
    assert "has read this content" in str(ticks.tick().skip_reason)
    change(ticks)
    ticks.tick()
    assert len(ticks.fired()) == 1


def test_missing_files_and_urls_are_reasons_to_skip(ticks: Ticks) -> None:
    (ticks.config.parent / "data/test.jsonl").unlink()
    assert "not complete yet" in str(ticks.tick().skip_reason)
    urls = {f"{split}_path": f"memory://{split}.jsonl" for split in ("train", "val", "test")}
    ticks.config.write_text(json.dumps({"data": urls}))
    assert "not watched" in str(ticks.tick().skip_reason)


def test_a_wrong_config_skips_a_tick_and_changes_no_state(ticks: Ticks) -> None:
    assert ticks.fired() == []
    right = ticks.config.read_text()
    ticks.config.write_text("modle: {}\n")
    reason = ticks.tick().skip_reason
    message = reason.skip_message if reason else None
    assert message and "did you mean `model`" in message and "\n" not in message
    ticks.config.write_text(right)
    assert len(ticks.fired()) == 1


def test_a_cursor_that_can_not_be_read_is_a_fresh_one() -> None:
    assert Cursor.parse("no json") == Cursor.parse('{"other": 1}') == Cursor.parse(None) == Cursor()
    cursor = Cursor("f", "a", "d")
    assert Cursor.parse(cursor.dump()) == cursor


def test_the_sensor_is_off_by_default_and_starts_the_run() -> None:
    assert new_data_sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert new_data_sensor.job_name == ml_run.name
