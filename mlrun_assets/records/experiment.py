"""An experiment: its identity and state, and what it knows before it touches data."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ValidationError

from mlrun_assets.errors import RecordError
from mlrun_assets.records.record import Record
from mlrun_assets.records.registries import DebtItem

SCHEMA_VERSION = 1
"""Of an experiment's files; it grows when an earlier version can't read them any more."""


class Status(StrEnum):
    """How an experiment stands, as its registry line says it."""

    RUNNING = "Running"
    COMPLETE = "Complete"
    BLOCKED = "Blocked"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"
    PARTIAL = "Partial"


class StageRun(Record):
    """One stage of an experiment: its state and what it took."""

    status: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None


class _Schema(BaseModel):
    """The part of a manifest that every version can read."""

    schema_version: int = SCHEMA_VERSION


class Manifest(Record):
    """An experiment's identity and state: ``manifest.json``, written first, updated in one step."""

    schema_version: int = SCHEMA_VERSION
    id: str
    name: str
    original_name: str | None
    report: str
    status: Status
    created_at: str
    closed_at: str | None = None
    run_ids: tuple[str, ...] = ()
    closed_by: str | None = None
    inputs: dict[str, str] = {}
    stages: dict[str, StageRun] = {}
    error: str | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            RecordError: the file is missing, is not a manifest, or has another schema version.
        """
        with suppress(OSError, ValidationError):
            found = _Schema.model_validate_json(path.read_bytes()).schema_version
            if found != SCHEMA_VERSION:
                raise RecordError(
                    f"{path}: schema version {found}, and this version of mlrun-assets reads "
                    f"{SCHEMA_VERSION}; use the version that wrote it, or start a new run"
                )
        return super().load(path)


class Environment(Record):
    """What an experiment ran on.

    ``thread_limits`` are the variables that say how many threads a library may use: another number
    of them adds floats in another order.
    """

    python: str
    platform: str
    cpu_count: int
    memory_gb: float
    accelerator: str | None
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    cpu_model: str | None = None
    thread_limits: dict[str, str] = {}


class PriorRun(Record):
    """An earlier experiment, as its records and its registry line tell it.

    ``val_f1_macro`` is that of the trained checkpoint, the mean over its seeds;
    ``comparable_digest`` is the recipe's; ``verdict_reason`` is what the rules said that decided.
    """

    report: str
    status: str
    experiment: str | None = None
    summary: str = ""
    created_at: str | None = None
    labels: tuple[str, ...] = ()
    data_name: str | None = None
    data_digest: str | None = None
    test_digest: str | None = None
    recipe_digest: str | None = None
    recipe_summary: str | None = None
    comparable_digest: str | None = None
    learning_rate: float | None = None
    val_digest: str | None = None
    val_f1_macro: float | None = None
    verdict: str | None = None
    verdict_reason: str | None = None
    accuracy: float | None = None
    f1: float | None = None


class ExperimentRecord(Record):
    """What the run knows before it touches data."""

    asset: ClassVar[str] = "experiment"

    name: str
    config_digest: str
    environment: Environment
    prior_runs: tuple[PriorRun, ...]
    best_run: str | None
    unreadable_lines: int
    open_debt: tuple[DebtItem, ...]
