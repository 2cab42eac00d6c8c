"""`mlrun-assets ui`: what it starts, and how that ends. Dagster itself is not started."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.examples import ROOT

Call = Callable[..., Called]
Start = tuple[list[str], dict[str, str]]

# A process that starts another one, which holds its standard output until it ends.
STARTER = """
import os
from mlrun_assets.cli.run import _until_ctrl_c
_until_ctrl_c(["sh", "-c", "(echo started; exec sleep 60); true"], dict(os.environ))
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """The commands that would be started, with their environments."""
    starts: list[Start] = []
    monkeypatch.setattr("mlrun_assets.cli.run._until_ctrl_c", lambda *start: starts.append(start))
    return starts


def test_dagster_is_started_for_the_project(
    tmp_path: Path, call: Call, started: list[Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_MODULE_NAME", "mlrun_assets.definitions")
    assert call("init", "my", cwd=tmp_path).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    ended = call("ui", "--port", port, "--config", "my/ml_config.yaml", cwd=tmp_path)
    assert ended.returncode == 1 and "has ended by itself" in ended.stderr
    ((command, environment),) = started
    assert command[0] == sys.executable and command[3:] == [
        *("-m", "dagster", "dev", "--workspace", str(ROOT / "mlrun_assets/workspace.yaml")),
        *("--host", "127.0.0.1", "--port", port),  # it has no login
    ]
    home = tmp_path / "my"
    assert environment["MLRUN_CONFIG"] == str(home / "ml_config.yaml")
    assert environment["DAGSTER_HOME"] == str(home / ".dagster")
    assert (home / ".dagster/dagster.yaml").exists()
    assert "DAGSTER_MODULE_NAME" not in environment


def test_nothing_is_started_on_a_port_in_use(
    tmp_path: Path, call: Call, started: list[Start]
) -> None:
    assert call("init", cwd=tmp_path).returncode == 0
    before = sorted(tmp_path.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = call("ui", "--port", str(port), cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr == (
        f"error: port {port} of 127.0.0.1 is in use; choose another one with --port or --host\n"
    )
    assert not started and sorted(tmp_path.iterdir()) == before


def test_a_directory_without_a_project_is_refused(
    tmp_path: Path, call: Call, started: list[Start]
) -> None:
    refused = call("ui", cwd=tmp_path)
    assert refused.returncode == 2 and "mlrun-assets init" in refused.stderr
    assert not started and [file.name for file in tmp_path.iterdir()] == ["piped"]  # of `call`


def test_ctrl_c_ends_the_processes_that_were_started() -> None:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout and process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""  # ends when no process has it open
    assert process.returncode == -signal.SIGINT
