"""What transformers and the hub library are kept from: telemetry and chatter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def telemetry_off() -> None:
    """Tell the hub library to send no telemetry; it reads this once, when it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within: no load report, no progress bar. What matters of the report becomes an error."""
    telemetry_off()
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
