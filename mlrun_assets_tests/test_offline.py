"""The real encoder from data to production, with every way out to the network closed."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlrun_assets.config import load_config
from mlrun_assets.experiment import all_experiments
from mlrun_assets.records import CheckpointRecord, EvaluationRecord, ProductionRecord, Status
from mlrun_assets_tests.examples import MakeProject

# Python imports this in every process of the run, also in those that the run starts.
SITECUSTOMIZE = """
import os, socket

LOOPBACK = ("127.0.0.1", "::1", "localhost")

def _refuse(address):
    with open(os.environ["REFUSED_CALLS"], "a") as file:
        file.write(f"{address}\\n")
    raise OSError(f"the test allows no network: {address}")

def _guard(real):
    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            _refuse(address)
        return real(self, address)
    return guarded

def _resolve(host, *arguments, **settings):
    if host not in (None, *LOOPBACK):
        _refuse(host)
    return _getaddrinfo(host, *arguments, **settings)

_getaddrinfo, socket.getaddrinfo = socket.getaddrinfo, _resolve
socket.socket.connect = _guard(socket.socket.connect)
socket.socket.connect_ex = _guard(socket.socket.connect_ex)
"""


@pytest.mark.slow
def test_a_run_with_the_embedded_encoder_calls_nobody(
    make_project: MakeProject, tmp_path: Path
) -> None:
    config = make_project(
        rows=90,
        model={"name": "embedded:multilingual-e5-small", "max_length": 64},
        training={"epochs": 2, "learning_rate": "auto", "bf16": "auto"},
        deployment={"auto_deploy": True},
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    refused = tmp_path / "refused"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "PYTHONPATH": str(tmp_path / "site"),
        "REFUSED_CALLS": str(refused),
    }

    call = functools.partial(
        subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800
    )
    connect = "import socket; socket.create_connection(('192.0.2.1', 80))"
    guarded = call([sys.executable, "-c", connect])
    assert "the test allows no network" in guarded.stderr
    refused.unlink()

    result = call([sys.executable, "-m", "mlrun_assets.cli", "run", "offline"])
    assert result.returncode == 0, result.stderr
    assert not refused.exists()
    experiment = all_experiments(load_config(config).experiments_dir)[0]
    assert experiment.manifest.status is Status.COMPLETE
    checkpoint = experiment.load(CheckpointRecord)
    assert checkpoint.trim is not None
    assert checkpoint.trim.pieces_after < 60_000
    assert checkpoint.trim.val_unknown_after == checkpoint.trim.val_unknown_before
    # Two epochs hardly move the val loss; whether bfloat16 pays and memory is short is measured.
    losses = [epoch.train_loss for epoch in checkpoint.history]
    assert losses == sorted(losses, reverse=True)
    assert experiment.load(EvaluationRecord).test.rows == 45
    assert experiment.load(ProductionRecord).moved

    # As anybody would use the deployed model: transformers alone.
    code = (
        "from transformers import pipeline\n"
        "classify = pipeline('text-classification', model='production/current')\n"
        "print(classify('Kooxdu waxay dhalisay laba gool ciyaarta dhammaadkeeda.')[0]['label'])"
    )
    served = call([sys.executable, "-c", code])
    assert served.stdout.strip() in {"farming", "health", "sports"}, served.stderr
    assert not refused.exists()
