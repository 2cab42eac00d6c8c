"""What a run writes down for people: its line, its tech debt, its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlrun_assets.records.record import Record


class DebtItem(Record):
    """One open item of the tech-debt registry."""

    number: int
    description: str
    impact: str


@dataclass(frozen=True)
class RunLine:
    """One run as its registry line has it; a person may have written the status."""

    report: str
    status: str
    summary: str


class RegistryRecord(Record):
    """This run's line."""

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
    """New, repeated and resolved items."""

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
