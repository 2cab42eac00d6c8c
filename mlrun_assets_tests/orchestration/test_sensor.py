from __future__ import annotations

import json
import os
from pathlib import Path

import dagster as dg
import pytest

from mlrun_assets.orchestration import automation
from mlrun_assets.orchestration.automation import Cursor, ml_run, new_data_sensor
from mlrun_assets.orchestration.resources import MlRun
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

    def ended(self, run_key: str | None, status: dg.DagsterRunStatus) -> None:
        self.instance.add_run(
            dg.DagsterRun(job_name="ml_run", status=status, tags={"dagster/run_key": str(run_key)})
        )


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
    monkeypatch.setattr(automation, "_content_digest", lambda _: pytest.fail("read again"))
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


def test_new_content_fires_again(ticks: Ticks) -> None:
    ticks.fired()
    first = ticks.fired()[0]
    ticks.ended(first, dg.DagsterRunStatus.SUCCESS)
    write_rows(ticks.config.parent / "data/val.jsonl", [{"text": "cusub", "label": "sports"}])
    ticks.fired()
    assert ticks.fired()[0] not in (None, first)


def test_missing_files_a_wrong_config_and_urls_are_reasons_to_skip(ticks: Ticks) -> None:
    (ticks.config.parent / "data/test.jsonl").unlink()
    assert "not complete yet" in str(ticks.tick().skip_reason)
    ticks.config.write_text("modle: {}\n")
    assert "did you mean `model`" in str(ticks.tick().skip_reason)
    urls = {f"{split}_path": f"memory://{split}.jsonl" for split in ("train", "val", "test")}
    ticks.config.write_text(json.dumps({"data": urls}))
    assert "not watched" in str(ticks.tick().skip_reason)


def test_a_cursor_that_can_not_be_read_is_a_fresh_one() -> None:
    assert Cursor.parse("no json") == Cursor.parse('{"other": 1}') == Cursor.parse(None) == Cursor()
    cursor = Cursor("f", "a", "d", 2)
    assert Cursor.parse(cursor.dump()) == cursor


def test_the_sensor_is_off_by_default_and_starts_the_run() -> None:
    assert new_data_sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert new_data_sensor.job_name == ml_run.name
