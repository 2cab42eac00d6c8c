"""Credentials in the URLs of a config: in no file and no output but the config itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.examples import MakeProject

Call = Callable[..., Called]

pytestmark = pytest.mark.slow  # whole runs

SECRETS = ("PASSw0rd", "SIGn4ture", "UNLab3lled", "MLFl0w", "PREd1ct", "WR0ngPass")
USER = "someone"


class Data(SimpleHTTPRequestHandler):
    """Serves the data to whoever has the password and the signature."""

    def do_GET(self) -> None:
        wanted = f"Basic {b64encode(f'{USER}:{SECRETS[0]}'.encode()).decode()}"
        if self.headers["Authorization"] == wanted and self.path.endswith(f"?sig={SECRETS[1]}"):
            super().do_GET()
        else:
            self.send_error(403)

    do_HEAD = do_GET  # noqa: N815 - what http.server looks for

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(Data, directory=str(tmp_path / "data"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.fixture
def dagster() -> Call:
    def called(*words: str, cwd: Path) -> Called:
        environment = {**os.environ, "DAGSTER_HOME": str(cwd / ".dagster")}
        command = [sys.executable, "-m", "dagster", *words]
        done = subprocess.run(
            command, check=False, cwd=cwd, env=environment, capture_output=True, text=True,
            timeout=1200,
        )  # fmt: skip
        return Called(done.returncode, done.stdout, done.stderr)

    return called


def leaks(home: Path, printed: str) -> list[str]:
    """Where a secret was written or printed; the config itself is not looked at."""
    files = [file for file in home.rglob("*") if file.is_file() and file.name != "ml_config.yaml"]
    assert any(file.suffix == ".db" for file in files)
    written = {str(file): file.read_bytes() for file in files} | {"output": printed.encode()}
    return [
        f"{secret}: {place}"
        for place, content in written.items()
        for secret in (*SECRETS, b64encode(f"{USER}:{SECRETS[0]}".encode()).decode())
        if secret.encode() in content or secret.encode("utf-16-le") in content
    ]


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("probed_here")
def test_no_credential_is_written_or_printed(
    make_project: MakeProject,
    server: str,
    call: Call,
    dagster: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signed = f"http://{USER}:{SECRETS[0]}@{server}/{{}}.jsonl?sig={SECRETS[1]}"
    data: dict[str, Any] = {f"{split}_path": signed.format(split) for split in ("train", "test")}
    data["val_path"] = [signed.format("val")]
    data["unlabelled_path"] = f"http://{USER}:{SECRETS[2]}@{server}/train.jsonl"
    data["predict_path"] = f"http:/{USER}:{SECRETS[4]}@{server}/new.jsonl"
    tracking = {
        "mlflow": bool(importlib.util.find_spec("mlflow")),
        "mlflow_uri": f"http://{USER}:{SECRETS[3]}@127.0.0.1:9?x=SIGn4ture",
    }
    config = make_project(data=data, tracking=tracking)
    given = json.loads(config.read_text())
    (config.parent / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(config.parent / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(config.parent / "tmp"))
    printed = ""

    def tried(*words: str, code: int, by: Call = call, **changes: Any) -> None:
        nonlocal printed
        sections = {name: given[name] | changes.get(name, {}) for name in given}
        config.write_text(json.dumps(sections))
        done = by(*words, cwd=config.parent)
        assert done.returncode == code, done.stdout + done.stderr
        printed += done.stdout + done.stderr

    no_texts = {"unlabelled_path": None}
    mistyped = {"test_path": signed.format("test").replace("//", "/")}
    wrong = {"train_path": signed.format("train").replace(SECRETS[0], SECRETS[5])}
    tried("run", "forbidden", code=1)
    tried("run", "mistyped", code=1, data=no_texts | mistyped)
    tried("run", "no-encoder", code=1, model={"name": f"https://{USER}:{SECRETS[0]}@{server}/x"})
    tried("check-data", code=2, data={"labels": 1})
    store = {"tracking": {"mlflow_uri": None}}
    tried("run", "good", code=1, data=no_texts | wrong, **store)
    tried("run", "--resume", "good", code=0, data=no_texts, **store)
    tried("promote", "good", "--reason", "a test", code=0, **store)
    tried("push", "./pushed", code=0)
    graph = ("asset", "materialize", "-m", "mlrun_assets.definitions", "--select", "predictions")
    tried(*graph, code=1, by=dagster)
    tried(*graph, code=0, by=dagster, data={"predict_path": signed.format("test")})
    assert f"http://{server}/train.jsonl" in printed
    assert leaks(config.parent, printed) == []
