"""How a rule says what it found."""

from __future__ import annotations

from mlrun_assets.records import RuleOutcome, RuleResult, Score


def off(rule: str, sentence: str, value: float | None = None) -> RuleResult:
    """A rule that nobody asked for, or that has nothing to look at."""
    return RuleResult(
        rule=rule, outcome=RuleOutcome.OFF, value=value, limit=None, sentence=sentence
    )


def measured(
    rule: str, outcome: RuleOutcome, sentence: str, value: Score | float, limit: float
) -> RuleResult:
    """A value, with its interval where it has one, beside its limit."""
    score = value if isinstance(value, Score) else None
    return RuleResult(
        rule=rule,
        outcome=outcome,
        value=score.value if score else value,
        limit=limit,
        low=score.low if score else None,
        high=score.high if score else None,
        sentence=sentence,
    )


def passed_if(holds: bool) -> RuleOutcome:
    """Passed, or failed: a rule that always tells."""
    return RuleOutcome.PASSED if holds else RuleOutcome.FAILED
