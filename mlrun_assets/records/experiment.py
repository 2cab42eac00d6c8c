"""An experiment: its identity and state, and what it knows before it touches data."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from mlrun_assets.records.record import Record
from mlrun_assets.records.registries import DebtItem


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


class Manifest(Record):
    """An experiment's identity and state: ``manifest.json``, written first, updated in one step."""

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
