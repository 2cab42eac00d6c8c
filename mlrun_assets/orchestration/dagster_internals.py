"""All that is used of Dagster beyond its public API, and why: where an upgrade must be looked at.

DagsterUserCodeProcessError, SerializableErrorInfo
    Dagster prints the stack of any exception that an asset raises, `dagster.Failure` included. It
    shows an error without one only if that comes from another process.
LocalComputeLogManager
    There is no public base for what keeps the output of a run. Dagster's own starts processes that
    a Ctrl-C in a terminal ends before the run.

test_dagster_internals.py holds that they behave so, and that no other module imports such names.
"""

from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster_shared.error import SerializableErrorInfo

__all__ = ["LocalComputeLogManager", "error_without_stack"]


def error_without_stack(message: str, kind: str) -> Exception:
    """An exception that Dagster shows as ``message`` alone; ``kind`` is the class that it shows."""
    shown = SerializableErrorInfo(f"{message}\n", stack=[], cls_name=kind)
    return DagsterUserCodeProcessError(  # type: ignore[no-untyped-call]
        message, user_code_process_error_infos=[shown]
    )
