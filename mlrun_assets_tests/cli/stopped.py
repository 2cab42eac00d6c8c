"""Moments at which a run is stopped with a signal, in the process of the run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

MOMENTS = ("SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "ENGINE_EVENT", "STEP_SUCCESS")
"""A signal once two epochs are trained; or an event of Dagster, after which Ctrl-C comes."""


def stop_at(moment: str) -> None:
    """Have the run of this process stopped at the moment."""
    from dagster._core.executor.in_process import InProcessExecutor

    from mlrun_assets.training.progress import Progress

    if moment.startswith("SIG"):
        Progress.on_evaluate = _signalled(Progress.on_evaluate, moment)  # type: ignore[method-assign]
    else:
        InProcessExecutor.execute = _interrupted(InProcessExecutor.execute, moment)  # type: ignore[method-assign]


def _signalled(on_evaluate: Callable[..., None], name: str) -> Callable[..., None]:
    def then(progress: Any, arguments: Any, state: Any, *others: Any, **more: Any) -> None:
        on_evaluate(progress, arguments, state, *others, **more)
        if state.epoch == 2:
            os.kill(os.getpid(), getattr(signal, name))

    return then


def _interrupted(execute: Callable[..., Iterator[Any]], event_type: str) -> Any:
    def events(*arguments: Any) -> Iterator[Any]:
        for event in execute(*arguments):
            yield event
            if event.event_type_value == event_type:
                os.kill(os.getpid(), signal.SIGINT)

    return events
