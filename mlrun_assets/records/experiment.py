"""The base of all records, the manifest, scores, registry lines and tech-debt items."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mlrun_assets.errors import RecordError
from mlrun_assets.files import read_file, write_atomically


def timestamp(now: datetime | None = None) -> str:
    """``now``, or the present, in UTC to the second: ``2026-11-23T03:15:00Z``."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Record(BaseModel):
    """A frozen record, stored as JSON; undeclared keys are refused.

    ``asset`` is the asset that writes it.
    """

    asset: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            RecordError: the file is missing or is not such a record.
        """
        try:
            return cls.model_validate_json(read_file(path))
        except FileNotFoundError:
            raise RecordError(
                f"{path}: no such record; materialize the asset that writes it first, in the same "
                "experiment"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{path}: not a {cls.__name__} of this version ({place}: {first['msg']}); "
                "materialize its asset again"
            ) from None

    def save(self, path: Path) -> None:
        """Write the record in one step."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")


MIN_ROWS_JUDGED = 30
"""Minimum number of test rows of a label or slice that is scored and judged."""


class Score(Record):
    """A score with the interval of the configured confidence."""

    value: float
    low: float
    high: float


class ClassScores(Record):
    """Scores of one label; ``support`` counts its rows, ``predicted`` the rows predicted as it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


class Scores(Record):
    """Scores of one model on one split.

    ``mcc`` is Matthews' correlation coefficient. The rows of ``confusion`` are the true labels, the
    columns the predicted ones.
    """

    rows: int
    accuracy: Score
    f1_macro: Score
    f1_weighted: Score
    mcc: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


class SliceScores(Record):
    """Accuracy on a slice of the test split; None below `MIN_ROWS_JUDGED` rows."""

    column: str
    value: str
    rows: int
    accuracy: Score | None


class SeedScores(Record):
    """Test scores of the model of one seed."""

    seed: int
    accuracy: float
    f1_macro: float
    f1_weighted: float


class Spread(Record):
    """Mean and sample standard deviation over seeds."""

    mean: float
    sd: float


class SeedSpread(Record):
    """Mean and standard deviation of the test scores over seeds."""

    accuracy: Spread
    f1_macro: Spread
    f1_weighted: Spread


class DebtItem(Record):
    """One open item of the tech-debt registry."""

    number: int
    description: str
    impact: str


@dataclass(frozen=True)
class RunLine:
    """One line of the registry; a person may have written the status and more."""

    report: str
    status: str
    summary: str

    FLAG: ClassVar = re.compile(r"(?:^|,)\s*(?P<flag>(?:not )?deployed)\b")

    @property
    def deployed(self) -> bool:
        """Whether the line says that the run's model is in production."""
        found = self.FLAG.search(self.summary)
        return found is not None and found["flag"] == "deployed"


class RegistryRecord(Record):
    """The registry line of this run."""

    asset: ClassVar[str] = "experiment_registry"

    file: str
    line: str
    lines_before: int


class DebtChange(Record):
    """One item that this run wrote to the tech-debt registry."""

    number: int
    description: str
    impact: str
    change: str


class TechDebtRecord(Record):
    """Tech-debt items that are new, repeated or resolved in this run."""

    asset: ClassVar[str] = "tech_debt_registry"

    file: str
    changes: tuple[DebtChange, ...]

    def numbers(self, change: str) -> list[str]:
        """The items with ``change`` (new, repeated, resolved), as ``TD-NNN``."""
        return [f"TD-{item.number:03d}" for item in self.changes if item.change == change]


class ReportRecord(Record):
    """The report, as Markdown and as HTML."""

    asset: ClassVar[str] = "deployment_report"

    file: str
    html_file: str
    sentence: str


SCHEMA_VERSION = 1
"""Version of the experiment's files; it grows when earlier code can't read them."""


class Status(StrEnum):
    """The status of an experiment, as in its registry line."""

    RUNNING = "Running"
    COMPLETE = "Complete"
    BLOCKED = "Blocked"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"
    PARTIAL = "Partial"


class StageRun(Record):
    """One stage of an experiment: status, time and memory."""

    status: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None


class _Schema(BaseModel):
    """The part of a manifest that every version can read."""

    schema_version: int = SCHEMA_VERSION


class Manifest(Record):
    """``manifest.json``: the identity and state of an experiment.

    ``original_name`` is the name that was asked for, if it had to be changed. ``inputs`` holds the
    digests of the config and the data files, ``stages`` one entry per asset. ``overrides`` are the
    lines of ``--set``, without credentials.
    """

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
    overrides: tuple[str, ...] = ()
    stages: dict[str, StageRun] = {}
    error: str | None = None

    @property
    def title(self) -> str:
        """The name as it was given, with the id."""
        name = self.original_name or self.name
        return self.id if name == self.id else f"{name} ({self.id})"

    @property
    def seconds(self) -> float:
        """The time that all stages took."""
        return sum(stage.seconds or 0.0 for stage in self.stages.values())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            RecordError: the file is missing, is not a manifest, or has another schema version.
        """
        with suppress(RecordError):
            manifest = super().load(path)
            if manifest.schema_version == SCHEMA_VERSION:
                return manifest
        with suppress(OSError, ValidationError):
            found = _Schema.model_validate_json(read_file(path)).schema_version
            if found != SCHEMA_VERSION:
                raise RecordError(
                    f"{path}: schema version {found}, and this version of mlrun-assets reads "
                    f"{SCHEMA_VERSION}; use the version that wrote it, or start a new run"
                )
        return super().load(path)  # raises the reason


class Environment(Record):
    """The machine and the software of an experiment.

    ``thread_limits`` holds the environment variables that limit threads or choose instructions of
    the CPU: another number of threads adds floats in another order.
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
    """An earlier experiment, from its records and its registry line.

    ``val_f1_macro`` is that of the trained checkpoint, or the mean over its seeds.
    ``comparable_digest`` is `Recipe.comparable_digest`. ``verdict_reason`` joins the sentences of
    the rules that decided.
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

    @property
    def when(self) -> str:
        """A sort key: when it was opened, or the day in the name of its report."""
        if self.created_at:
            return self.created_at.replace("-", "")
        day = re.search(r"([0-9]{8})(?:-[0-9]+)?$", self.report)
        return day[1] if day else ""


class ExperimentRecord(Record):
    """Facts that are known before the data is read.

    ``prior_runs`` has the earlier runs that a plan and the report can use, the newest first;
    ``known_runs`` counts all. ``best_run`` is the report name of the one with the highest F1.
    """

    asset: ClassVar[str] = "experiment"

    name: str
    config_digest: str
    environment: Environment
    prior_runs: tuple[PriorRun, ...]
    known_runs: int
    best_run: str | None
    unreadable_lines: int
    open_debt_items: int
