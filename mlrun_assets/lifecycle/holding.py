"""The lock on an experiment that a process is working on; the system releases it on its death."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from mlrun_assets.errors import ExperimentError
from mlrun_assets.experiment_store import ExperimentPaths
from mlrun_assets.files import locked

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
    lock = FileLock(ExperimentPaths(directory).lock, thread_local=False)
    if not _acquire(lock):
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
    file = ExperimentPaths(directory).lock
    return file.exists() and not _acquire(FileLock(file), release=True)


def _acquire(lock: FileLock, *, release: bool = False) -> bool:
    """Acquire the lock if it is free, and keep it unless ``release``; whether it was free."""
    # flock has no way to look at a lock without taking it. So whoever looks or takes does it under
    # a second lock: a lock that is not free is then held by a process that works, never by one
    # that looks.
    directory = Path(lock.lock_file).parent
    with locked(ExperimentPaths(directory).lock_attempt):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        if release:
            lock.release()
        return True
