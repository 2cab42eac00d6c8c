"""A run's log for people who sit at a terminal: what stages say, without ids and events."""

import logging
import sys

import dagster as dg


class _OwnLines(logging.Filter):
    """Keeps what stages say and drops what Dagster says about itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = getattr(record, "dagster_meta", None) or {}
        # What was skipped after a failure Dagster says in the name of each asset, not as an event.
        own = str(about.get("orig_message", "")).endswith("Not executing.")
        return about.get("dagster_event") is None and not own


class _Plain(logging.Formatter):
    """Time, asset, message."""

    def format(self, record: logging.LogRecord) -> str:
        about = getattr(record, "dagster_meta", None) or {}
        asset, said = about.get("op_name") or "", about.get("orig_message", "")
        return f"{self.formatTime(record, '%H:%M:%S')}  {asset:<20}  {said}"


@dg.logger(config_schema={}, description="What the stages say, a line each, on standard error.")
def plain_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger of its own, so that nobody else's settings change it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain())
    handler.addFilter(_OwnLines())
    logger = logging.Logger("mlrun_assets", level=logging.INFO)
    logger.addHandler(handler)
    return logger
