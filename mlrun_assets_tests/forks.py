"""Runs `python -m` in a fork of a process that has imported what a run needs.

To import that takes longer than a run of the tests does. Each process of the tests has a server of
its own, which starts with the first fork, imports `preloaded`, and forks.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["mlrun_assets_tests.preloaded"])
PATIENCE = 1200
"""Seconds until a process counts as hanging. A run takes a few, on a busy machine minutes."""


def start(
    *words: str,
    cwd: Path,
    output: Path,
    stdin: Path | None = None,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> ForkServerProcess:
    """Start `python -m` with these words, once ``before`` was called in the fork.

    It has the variables of this process and ``environment``, and is in a session of its own.
    Standard output and standard error go to ``output`` with the endings ``.out`` and ``.err``.
    """
    arguments = words, cwd, output, stdin, before, {**os.environ, **environment}
    process = _SERVER.Process(target=_run, args=arguments)
    process.start()
    return process


def run(*words: str, output: Path, **settings: Any) -> CompletedProcess[str]:
    """Run `python -m` with these words to its end; the arguments are those of `start`."""
    return ended(start(*words, output=output, **settings), output)


def ended(process: ForkServerProcess, output: Path) -> CompletedProcess[str]:
    """The exit code of a fork once it has ended, negative: the signal; and its output."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
    texts = [output.with_suffix(ending).read_text("utf-8") for ending in (".out", ".err")]
    assert process.exitcode is not None, texts
    return CompletedProcess([], process.exitcode, *texts)


def _run(
    words: tuple[str, ...],
    cwd: Path,
    output: Path,
    stdin: Path | None,
    before: Callable[[], None] | None,
    variables: dict[str, str],
) -> None:
    import mlrun_assets_tests.preloaded  # noqa: F401  the server passes over an error in it

    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    for number, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if stdin:
        sys.stdin = stdin.open(encoding="utf-8")
    if before:
        before()
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
