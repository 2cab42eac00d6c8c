"""Environment variables by which the processes of a run are told something."""

from __future__ import annotations

CONFIG_VARIABLE = "MLRUN_CONFIG"
# Set by the command line where a person looks on: Dagster hides the terminal behind a pipe.
COLUMNS_VARIABLE = "MLRUN_TERMINAL_COLUMNS"
