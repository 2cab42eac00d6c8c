"""A command, called in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.cli.__main__ import main


@dataclass(frozen=True)
class Called:
    """The end of a command: exit code, standard output and standard error."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    def called(*words: str, cwd: Path, piped: bytes | None = b"") -> Called:
        monkeypatch.chdir(cwd)
        (tmp_path / "piped").write_bytes(piped or b"")
        stdin = None if piped is None else (tmp_path / "piped").open()  # None: closed
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["mlrun-assets", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(str(end.code))
        sys.stdin.close()
        return Called(code, *capsys.readouterr())

    return called
