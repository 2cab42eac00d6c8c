"""All use of Dagster beyond its public API, with the reason. Check it after an upgrade of Dagster.

DagsterUserCodeProcessError, SerializableErrorInfo
    Dagster prints the stack of every exception that an asset raises, `dagster.Failure` and Ctrl-C
    included. It prints no stack only for an error that comes from another process.
wipe_input_asset_version_info
    Dagster notes the data versions of an asset's inputs before the asset runs. An asset that reads
    files learns their version later, and would be out of sync as soon as it is done.
DAGSTER_IS_DEV_CLI
    `dagster dev` and `dg dev` set it, and hang without a word if DAGSTER_MODULE_NAME is set too.
LocalComputeLogManager
    There is no public base class for keeping the output of a run. Dagster's own class starts
    processes that end on Ctrl-C, before the run has ended.
The history in SQLite
    Dagster opens and closes a database for every event. The last connection that closes one brings
    its log into it, which waits for the disk: a run of a minute waited 5 s.

`test_dagster_internals.py` tests this behaviour and that no other module imports such names.
"""

import atexit
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import event
from sqlalchemy.pool import Pool


def error_without_stack(message: str, kind: str) -> Exception:
    """An exception that Dagster shows as ``message`` alone; ``kind`` is the class that it shows."""
    return _without_stack(DagsterUserCodeProcessError, message, kind)


class _InterruptError(DagsterUserCodeProcessError, KeyboardInterrupt):
    """Dagster cancels the run, as after any interrupt, and shows the message alone."""


def interrupt_without_stack(message: str) -> BaseException:
    """An interrupt that Dagster shows as ``message`` alone."""
    return _without_stack(_InterruptError, message, KeyboardInterrupt.__name__)


def _without_stack(
    kind: type[DagsterUserCodeProcessError], message: str, shown_as: str
) -> DagsterUserCodeProcessError:
    shown = SerializableErrorInfo(f"{message}\n", stack=[], cls_name=shown_as)
    return kind(message, user_code_process_error_infos=[shown])


def report_inputs(
    context: dg.AssetExecutionContext, inputs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Observe the source assets that this asset has read: metadata by asset, with ``digest``.

    The digest is the data version. Dagster took note of earlier versions before the asset ran.
    """
    for name, metadata in inputs.items():
        key, tags = dg.AssetKey(name), {"dagster/data_version": metadata["digest"]}
        context.log_event(dg.AssetObservation(key, metadata=metadata, tags=tags))
        context.get_step_execution_context().wipe_input_asset_version_info(key)


def warn_of_hanging_dev() -> None:
    """Say why `dagster dev` hangs, if it will: the code server is the last process that starts."""
    if os.environ.get("DAGSTER_IS_DEV_CLI") and os.environ.get("DAGSTER_MODULE_NAME"):
        sys.stderr.write(
            "error: DAGSTER_MODULE_NAME is set, and `dagster dev` hangs with it: press Ctrl-C, "
            "then `unset DAGSTER_MODULE_NAME`\n"
        )


class InterruptSafeLogManager(LocalComputeLogManager):
    """Dagster's log manager, with helper processes that ignore Ctrl-C.

    It starts two processes for each stream: one shows the output, the other waits until this
    process is gone. A terminal sends Ctrl-C to them as well: the first would go silent before the
    run has printed how it ended, the second would print a stack. Dagster ends both at the end.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No settings."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, _: object) -> "InterruptSafeLogManager":
        """Keep the files in Dagster's default place."""
        return cls(str(Path(os.environ["DAGSTER_HOME"], "storage")), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[Any, None, None]:
        """Copy the output of the block to files and to the terminal."""
        with ExitStack() as stack:
            with interrupts_blocked():
                log = stack.enter_context(super().capture_logs(log_key))
            yield log


@contextmanager
def interrupts_blocked() -> Generator[None, None, None]:
    """Delay Ctrl-C and hang-ups until the block ends; processes that start within get none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


MOST_OPEN = 8
_kept_open: dict[str, sqlite3.Connection] = {}
_opening = threading.Lock()  # the UI's server has many threads


@event.listens_for(Pool, "connect")
def _spare_the_disk(connection: object, _record: object) -> None:
    """Keep a database of Dagster's history open, so that closing ``connection`` is quick.

    A commit does not wait either: after a power cut, the history may lack its last events.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not (home and isinstance(connection, sqlite3.Connection)):
        return
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    if not (file and Path(file).is_relative_to(Path(home).resolve())):
        return
    connection.execute("PRAGMA synchronous=NORMAL")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        return
    with _opening:
        if file not in _kept_open:
            kept = sqlite3.connect(file, check_same_thread=False)
            kept.execute("PRAGMA schema_version").fetchone()  # before it reads, it does not count
            _kept_open[file] = kept
            _close_oldest(MOST_OPEN)


@atexit.register
def _close_oldest(most: int = 0) -> None:
    """Close the databases that were opened first, until ``most`` are open."""
    while len(_kept_open) > most:
        _kept_open.pop(next(iter(_kept_open))).close()
