"""The real encoder from data to production, with every way out to the network closed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.config import load_config, parse_config
from mlrun_assets.errors import ConfigError, OfflineError
from mlrun_assets.experiment import all_experiments
from mlrun_assets.machine import set_offline
from mlrun_assets.records import CheckpointRecord, EvaluationRecord, ProductionRecord, Status
from mlrun_assets_tests.examples import ROOT, MakeProject

# Python imports this in every process of the run, also in those that the run starts.
SITECUSTOMIZE = """
import os, sys

def _guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if host not in (None, "127.0.0.1", "::1", "localhost"):
        with open(os.environ["REFUSED_CALLS"], "a") as file:
            file.write(f"{event} {arguments}\\n")
        raise OSError(f"the test allows no network: {host}")

if "REFUSED_CALLS" in os.environ:
    sys.addaudithook(_guard)
"""
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80))"
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Calls Python in the project, with a guard that writes refused calls to `refused`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    settings = {
        "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}",
        "REFUSED_CALLS": str(tmp_path / "refused"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}

    def called(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            check=False, cwd=tmp_path, env=kept | settings, capture_output=True, text=True,
            timeout=1800,
        )  # fmt: skip

    assert "the test allows no network" in called("-c", CONNECT).stderr
    (tmp_path / "refused").unlink()
    return called


@pytest.mark.slow
def test_a_run_with_the_embedded_encoder_calls_nobody(
    make_project: MakeProject, call: Call, tmp_path: Path
) -> None:
    config = make_project(
        rows=90,
        model={"name": "embedded:multilingual-e5-small", "max_length": 32},
        training={"epochs": 2, "learning_rate": "auto", "bf16": "auto"},
        deployment={"auto_deploy": True},
    )
    refused = tmp_path / "refused"
    result = call("-m", "mlrun_assets.cli", "run", "offline")
    assert result.returncode == 0, result.stderr
    assert not refused.exists()
    experiment = all_experiments(load_config(config).experiments_dir)[0]
    assert experiment.manifest.status is Status.COMPLETE
    checkpoint = experiment.load(CheckpointRecord)
    assert checkpoint.trim is not None
    assert checkpoint.trim.pieces_after < 60_000
    assert checkpoint.trim.val_unknown_after == checkpoint.trim.val_unknown_before
    # Two epochs hardly move the val loss; whether bfloat16 pays and memory is short is measured.
    assert checkpoint.fine_tuning
    losses = [epoch.train_loss for epoch in checkpoint.fine_tuning.history]
    assert losses == sorted(losses, reverse=True)
    assert experiment.load(EvaluationRecord).test.rows == 45
    assert experiment.load(ProductionRecord).moved

    # As anybody would use the deployed model: transformers alone.
    code = (
        "from transformers import pipeline\n"
        "classify = pipeline('text-classification', model='production/current')\n"
        "print(classify('Kooxdu waxay dhalisay laba gool ciyaarta dhammaadkeeda.')[0]['label'])"
    )
    served = call("-c", code)
    assert served.stdout.strip() in {"farming", "health", "sports"}, served.stderr
    assert not refused.exists()


# --- The key `offline`

URL = "http://127.0.0.1:9/train.jsonl"  # even on this machine, a URL is no file


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")  # and restored, whatever happens
    set_offline(True)
    yield
    set_offline(False)


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"data": {"train_path": URL}}, ["data.train_path"]),
        ({"data": {"test_path": ["a.csv", "s3://bucket/a.csv"]}}, ["data.test_path"]),
        ({"data": {"unlabelled_path": URL, "predict_path": URL}},
         ["data.predict_path", "data.unlabelled_path"]),
        ({"tracking": {"mlflow": True, "mlflow_uri": "http://127.0.0.1:5000"}},
         ["tracking.mlflow_uri"]),
        ({"training": {"report_to": ["tensorboard", "wandb"]}}, ["training.report_to"]),
        ({"training": {"backend": "ray", "ray_address": "head:6379"}}, ["training.ray_address"]),
        ({"data": {"train_path": "file:///a.csv"}}, []),
        ({"tracking": {"mlflow": True, "mlflow_uri": "sqlite:////tmp/x.db"}}, []),
    ],
)  # fmt: skip
def test_what_needs_the_network_is_a_mistake(config: dict[str, Any], keys: list[str]) -> None:
    paths = {f"{split}_path": f"{split}.csv" for split in ("train", "val", "test")}
    config = {**config, "data": paths | config.get("data", {})}
    parse_config(json.dumps(config))
    text = json.dumps({**config, "offline": True})
    if not keys:
        parse_config(text)
        return
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    found = re.findall(r"^  line 1: (\S+):", str(caught.value), re.MULTILINE)
    assert sorted(found) == keys


@pytest.mark.usefixtures("offline")
def test_calls_to_other_machines_are_refused_until_it_is_turned_off() -> None:
    for host in ("192.0.2.1", "2001:db8::1", "hub.example", b"hub.example"):
        with pytest.raises(OfflineError, match="no connection to"):
            socket.getaddrinfo(host, 80)
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(OfflineError):
            stream.connect(("192.0.2.1", 80))
        with pytest.raises(OfflineError):
            datagrams.sendto(b"", ("192.0.2.1", 80))
        with pytest.raises(ConnectionRefusedError):
            stream.connect(("127.0.0.1", 9))
        set_offline(False)
        datagrams.connect(("127.0.0.1", 9))
    assert "HF_HUB_OFFLINE" not in os.environ


@pytest.mark.slow
def test_an_offline_run_calls_nobody_and_refuses_whoever_does(
    make_project: MakeProject, call: Call, tmp_path: Path
) -> None:
    config = make_project(deployment={"auto_deploy": True}, tracking={"mlflow": True})
    given = {**json.loads(config.read_text()), "offline": True}
    given["tracking"]["mlflow"] = find_spec("mlflow") is not None
    config.write_text(json.dumps(given))
    ran = call("-m", "mlrun_assets.cli", "run", "offline")
    assert ran.returncode == 0, ran.stderr
    assert all_experiments(load_config(config).experiments_dir)[0].load(ProductionRecord).moved
    assert not (tmp_path / "refused").exists()

    pushed = call("-m", "mlrun_assets.cli", "push", "user/name")
    assert pushed.returncode == 1 and "HF_TOKEN" in pushed.stderr
    config.write_text(json.dumps(given | {"model": {"name": "nobody/nothing-here"}}))
    ran = call("-m", "mlrun_assets.cli", "run", "hub")
    assert ran.returncode == 1 and "`offline`" in ran.stderr
    in_children = (
        "import os, subprocess, sys; from mlrun_assets.config import load_config; load_config();"
        "del os.environ['REFUSED_CALLS'];"  # the guard of the product, not that of the test
        f"subprocess.run([sys.executable, '-c', \"import mlrun_assets; {CONNECT}\"])"
    )
    assert "OfflineError" in call("-c", in_children).stderr
    assert not (tmp_path / "refused").exists()
