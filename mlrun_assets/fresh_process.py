"""A model served by a process that knows nothing of this one, and what it answers.

The process reads a JSON list of texts and writes a JSON object, whose ``labels`` has one for each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from mlrun_assets.errors import ExportError

# How many texts are timed alone, and how many are answered together for the rows a second.
TEXTS_TIMED = 40
TEXTS_TOGETHER = 64


@dataclass(frozen=True)
class Server:
    """The module that such a process runs, and how messages call it and its failure."""

    module: str
    name: str
    failure: str
    timeout_seconds: int


def ask(server: Server, arguments: list[str], texts: list[str]) -> dict[str, Any]:
    """Start the process with ``arguments``, give it ``texts`` and return what it says.

    Raises:
        ExportError: it fails, or does not answer for every text.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-m", server.module, *arguments],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            timeout=server.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{server.name} did not answer within {server.timeout_seconds} s"
        ) from None
    if result.returncode != 0:
        last = result.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise ExportError(f"{server.failure}: {last[0]}")
    said: dict[str, Any] = json.loads(result.stdout)
    if len(said["labels"]) != len(texts):
        raise ExportError(f"{len(said['labels'])} answers to {len(texts)} texts from {server.name}")
    return said
