"""How the run ended, and what to do next."""

from __future__ import annotations

from mlrun_assets.records import RunRecords, Status
from mlrun_assets.reporting.escaping import Markdown, clean, joined, prose
from mlrun_assets.reporting.evaluation_sentences import label_next_sentence

HEADLINE_LIMIT = 300
STAGES = {
    "experiment": "experiment",
    "dataset": "validated dataset",
    "plan": "training plan",
    "baseline": "baseline",
    "checkpoint": "trained checkpoint",
    "evaluation": "evaluation",
    "export": "exported model",
    "decision": "decision",
    "production": "production",
    "registry": "experiment registry",
    "tech_debt": "tech-debt registry",
}
_UNFINISHED = {Status.BLOCKED, Status.FAILED, Status.CANCELLED, Status.INTERRUPTED, Status.PARTIAL}
_CONTINUE = (
    "Re-execute the run from failure: that continues this experiment, and training continues from "
    "its newest sound checkpoint."
)
_NEXT = {
    Status.BLOCKED: "Correct the data as the checks below say, or set their thresholds under "
    "`data.quality`, and run again.",
    Status.FAILED: f"Remove the cause named above. {_CONTINUE}",
    Status.CANCELLED: f"{_CONTINUE} Or start a new run.",
    Status.INTERRUPTED: f"The process ended without closing the experiment. {_CONTINUE}",
    Status.PARTIAL: "Materialize `deployment_report` with all that it depends on, in this "
    "experiment.",
}


def ended_early(records: RunRecords) -> bool:
    """The run has ended, and not by going through all of its stages."""
    return records.manifest.status in _UNFINISHED


def headline(records: RunRecords) -> Markdown:
    """The verdict, or how the run ended, and why: one line."""
    manifest, decision = records.manifest, records.decision
    if ended_early(records):
        return Markdown(f"**{manifest.status}**: {prose(_cause(records), HEADLINE_LIMIT)}")
    if decision:
        return Markdown(f"**{decision.verdict}**: {prose(decision.sentence)}")
    return Markdown(f"**{manifest.status}**: no verdict is recorded.")


def _cause(records: RunRecords) -> str:
    if records.manifest.error and records.manifest.error.strip():
        return records.manifest.error.strip().splitlines()[0]
    if records.dataset:
        blocking = [check.message for check in records.dataset.failed_checks if check.blocks]
        if blocking:
            return "; ".join(blocking)
    return "no reason is recorded."


def error_in_full(records: RunRecords) -> str | None:
    """The error as it was raised, where the headline shows only a part of it."""
    error = (records.manifest.error or "").strip()
    return error if clean(error) != clean(_cause(records), HEADLINE_LIMIT) and error else None


def not_reached(records: RunRecords) -> Markdown:
    """The stages that left no record."""
    return joined(name for field, name in STAGES.items() if getattr(records, field) is None)


def next_steps(records: RunRecords) -> list[str]:
    """What to do next: how to go on after an early end, then what the stages advise."""
    steps: list[str] = []
    if ended_early(records):
        steps.append(Markdown(_NEXT[records.manifest.status]))
    if records.decision:
        steps += [
            step for step in records.decision.next_steps if not _promotes_what_serves(step, records)
        ]
    labelling = label_next_sentence(records.evaluation) if records.evaluation else None
    if labelling:
        steps.append(labelling)
    if records.plan:
        steps += [advice.sentence for advice in records.plan.advice]
    return steps


def _promotes_what_serves(step: str, records: RunRecords) -> bool:
    """Whether a step is to promote the model, which serves by now."""
    return records.serves and f"mlrun-assets promote {records.manifest.id}" in step
