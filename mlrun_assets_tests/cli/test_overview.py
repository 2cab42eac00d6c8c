"""`mlrun-assets status`: what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mlrun_assets.cli.__main__ import commands
from mlrun_assets.config import LoadedConfig
from mlrun_assets.production.promotion import promote_by_hand, roll_back
from mlrun_assets_tests.examples import finished, project


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


def first_line(config: LoadedConfig) -> str:
    result = CliRunner().invoke(commands, ["status", "--config", str(config.file)])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()[0]


def test_a_version_serves_since_production_last_moved_to_it(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([f"2026-11-23T03:15:0{second}Z" for second in range(3)])
    monkeypatch.setattr("mlrun_assets.production.pointer.timestamp", lambda: next(times))
    assert first_line(config) == "production  nothing deployed yet"
    first = finished(config, "first")
    promote_by_hand(first, config, None, "Hodan")
    promote_by_hand(finished(config, "second"), config, None, "Hodan")
    roll_back(config, None, "wrong on the radio", "Hodan")
    assert first_line(config) == f"production  {first.id}, since 2026-11-23T03:15:02Z"

    (config.production_dir / "history.jsonl").write_text("")
    assert first_line(config) == f"production  {first.id}"
