"""What the assets print, kept for Dagster's UI and shown on the terminal."""

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mlrun_assets.orchestration.dagster_internals import LocalComputeLogManager


class CalmComputeLogManager(LocalComputeLogManager):
    """Dagster's own, whose helper processes do not hear a Ctrl-C.

    It starts two for each stream: one shows what is printed, the other waits for this process to be
    gone. A terminal sends Ctrl-C to them too: the first would fall silent before the run has said
    how it ends, the second would print a stack. Dagster ends both itself.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing is to be set."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, _: object) -> "CalmComputeLogManager":
        """Keeps the files where Dagster does by default."""
        return cls(str(Path(os.environ["DAGSTER_HOME"], "storage")), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[Any, None, None]:
        """Mirror what is printed within to files and to the terminal."""
        with ExitStack() as stack:
            with ctrl_c_held_back():
                log = stack.enter_context(super().capture_logs(log_key))
            yield log


@contextmanager
def ctrl_c_held_back() -> Generator[None, None, None]:
    """Within, SIGINT waits, and processes that are started never get it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
