"""How one choice is made: a value in the config wins over the rule; each says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlrun_assets.config import Config
from mlrun_assets.records import Choice
from mlrun_assets.stages.plan.situation import Situation


@dataclass(frozen=True)
class Ruling:
    """What a rule says; ``source`` is ``earlier run`` where one of those has settled it."""

    value: object
    reason: str
    evidence: str
    source: str = "rule"


Rule = Callable[[Situation], Ruling]


@dataclass(frozen=True)
class Chosen:
    """A choice with its value as the recipe takes it."""

    key: str
    value: object
    source: str
    reason: str
    evidence: str

    @property
    def choice(self) -> Choice:
        """The choice as the plan's table shows it."""
        return Choice(
            key=self.key,
            value=written(self.value),
            source=self.source,
            reason=self.reason,
            evidence=self.evidence,
        )

    @property
    def field(self) -> str:
        """The recipe's field that it fills."""
        return self.key.rpartition(".")[2]


def choose(key: str, rule: Rule, situation: Situation) -> Chosen:
    """What the config sets at ``key`` (``training.epochs``), else what the rule says.

    A key without a section is not in the config: the rule always decides it.
    """
    ruling = rule(situation)
    value = configured(situation.config, key) if "." in key else "auto"
    if value == "auto":
        return Chosen(key, ruling.value, ruling.source, ruling.reason, ruling.evidence)
    evidence = f"the rule says {written(ruling.value)}: {ruling.evidence}"
    return Chosen(key, value, "config", "set in the config", evidence)


def configured(config: Config, key: str) -> object:
    """The value at a path of the config, such as ``training.epochs``."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def written(value: object) -> str:
    """A value as the config would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "unset" if value is None else str(value)
