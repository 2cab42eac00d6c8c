"""The rules of the decision and its verdict."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from mlrun_assets.records.record import Record


class RuleOutcome(StrEnum):
    """What one rule of the decision says."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"
    OFF = "off"


class RuleResult(Record):
    """One rule, what it compared, and what follows.

    ``rows_needed`` is how many test rows would settle a rule that is inconclusive; None: there is
    nothing to settle, or no number of rows would. ``scarce_label`` is the label that has too few of
    them for any number of the others to tell.
    """

    rule: str
    outcome: RuleOutcome
    value: float | None
    limit: float | None
    low: float | None = None
    high: float | None = None
    sentence: str
    rows_needed: int | None = None
    scarce_label: str | None = None


class Verdict(StrEnum):
    """What is decided about the model."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    BLOCKED = "BLOCKED"


class DecisionRecord(Record):
    """The verdict and every reason for it."""

    asset: ClassVar[str] = "deployment_decision"

    verdict: Verdict
    sentence: str
    rules: tuple[RuleResult, ...]
    deploys: bool
    next_steps: tuple[str, ...]
