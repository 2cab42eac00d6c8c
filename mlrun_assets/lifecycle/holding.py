"""Who works on an experiment: a lock that the system releases when a process dies."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from mlrun_assets.errors import ExperimentError

LOCK = ".lock"
_held: dict[Path, FileLock] = {}


def hold(directory: Path) -> None:
    """Hold the experiment at ``directory`` until `release`, or until this process ends.

    Raises:
        ExperimentError: another process works on it.
    """
    if not try_hold(directory):
        raise ExperimentError(
            f"{directory}: another process works on this experiment; wait until it ends, or name "
            "another one"
        )


def try_hold(directory: Path) -> bool:
    """Hold the experiment if no other process does; whether this one holds it now."""
    if directory in _held:
        return True
    lock = FileLock(directory / LOCK, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    _held[directory] = lock
    return True


def release(directory: Path) -> None:
    """Let the experiment go; nothing happens when this process does not hold it."""
    lock = _held.pop(directory, None)
    if lock is not None:
        lock.release()


def is_held(directory: Path) -> bool:
    """Whether a process, this one or another, works on the experiment."""
    if directory in _held:
        return True
    if try_hold(directory):
        release(directory)
        return False
    return True
