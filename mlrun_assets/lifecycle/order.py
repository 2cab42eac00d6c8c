"""Which asset follows from which: what is made anew makes stale what was made from it."""

from __future__ import annotations

MADE_FROM: dict[str, tuple[str, ...]] = {
    "experiment": (),
    "validated_dataset": ("experiment",),
    "training_plan": ("experiment", "validated_dataset"),
    "baseline_metrics": ("validated_dataset",),
    "trained_checkpoint": ("validated_dataset", "training_plan"),
    "evaluation_metrics": ("validated_dataset", "baseline_metrics", "trained_checkpoint"),
    "exported_model": ("trained_checkpoint",),
    "deployment_decision": ("baseline_metrics", "evaluation_metrics", "exported_model"),
    "production_model": ("evaluation_metrics", "exported_model", "deployment_decision"),
    "experiment_registry": ("evaluation_metrics", "deployment_decision", "production_model"),
    "tech_debt_registry": ("validated_dataset", "evaluation_metrics", "deployment_decision"),
    "deployment_report": ("experiment_registry", "tech_debt_registry"),
}
REPORT = "deployment_report"


def dependants(asset: str) -> set[str]:
    """All assets that are made from ``asset``, at any remove."""
    direct = {name for name, sources in MADE_FROM.items() if asset in sources}
    return direct.union(*(dependants(name) for name in direct))
