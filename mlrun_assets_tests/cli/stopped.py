"""Runs `mlrun-assets run` in a process for each moment, and stops it then with a signal.

    python -m mlrun_assets_tests.cli.stopped DIRECTORY MOMENT...

Each process works in the project DIRECTORY/MOMENT, where its output and its exit code are left. All
are forks of this one: to import what a run needs takes longer than the run.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOMENTS = ("SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "ENGINE_EVENT", "STEP_SUCCESS")
"""A signal once two epochs are trained; or an event of Dagster, after which Ctrl-C comes."""


def signalled(on_evaluate: Callable[..., None], name: str) -> Callable[..., None]:
    def then(progress: Any, arguments: Any, state: Any, *others: Any, **more: Any) -> None:
        on_evaluate(progress, arguments, state, *others, **more)
        if state.epoch == 2:
            os.kill(os.getpid(), getattr(signal, name))

    return then


def interrupted(execute: Callable[..., Iterator[Any]], event_type: str) -> Any:
    def events(*arguments: Any) -> Iterator[Any]:
        for event in execute(*arguments):
            yield event
            if event.event_type_value == event_type:
                os.kill(os.getpid(), signal.SIGINT)

    return events


def stop(home: Path, moment: str) -> None:
    from dagster._core.executor.in_process import InProcessExecutor

    from mlrun_assets.cli.__main__ import main
    from mlrun_assets.training.progress import Progress

    os.chdir(home)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    if moment.startswith("SIG"):
        Progress.on_evaluate = signalled(Progress.on_evaluate, moment)  # type: ignore[method-assign]
    else:
        InProcessExecutor.execute = interrupted(InProcessExecutor.execute, moment)  # type: ignore[method-assign]
    sys.argv = ["mlrun-assets", "run", "stopped"]
    main()


def fork_all() -> None:

    import mlrun_assets.definitions
    import mlrun_assets.training.fine_tuning  # noqa: F401

    directory, *moments = sys.argv[1:]
    for moment in moments:
        child = os.fork()
        if child == 0:
            stop(Path(directory, moment), moment)  # which exits
        _, status = os.waitpid(child, 0)
        code = str(os.waitstatus_to_exitcode(status))
        Path(directory, moment, "code").write_text(code, encoding="utf-8")


if __name__ == "__main__":
    fork_all()
