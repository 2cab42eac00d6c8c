"""Rules about the exported model: that it answers like its checkpoint, how fast, how large."""

from __future__ import annotations

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.records import MIN_AGREEMENT, ExportRecord, RuleResult
from mlrun_assets.stages.decision.results import measured, off, passed_if


def export_parity(export: ExportRecord) -> RuleResult:
    """The exported model gives the checkpoint's labels."""
    agreement, rows = export.agreement, export.rows_compared
    says = f"a fresh process gives the checkpoint's label for {agreement:.1%} of {rows:,} val rows"
    return measured(
        "export_parity", passed_if(agreement >= MIN_AGREEMENT), says, agreement, MIN_AGREEMENT
    )


def latency(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The fastest form answers 95 of 100 single texts within ``deployment.max_latency_ms``."""
    forms = {"transformers": export.latency_ms_p95}
    forms |= {f"ONNX {one.precision}": one.latency_ms_p95 for one in export.onnx if one.kept}
    fastest = min(forms, key=forms.__getitem__)
    found, limit = forms[fastest], config.max_latency_ms
    says = f"the fastest form, {fastest}, answers 95 of 100 single texts within {found:.1f} ms"
    if limit is None:
        return off("latency", f"{says}; deployment.max_latency_ms is not set", found)
    return measured("latency", passed_if(found <= limit), says, found, limit)


def size(export: ExportRecord, config: DeploymentConfig) -> RuleResult:
    """The smallest form takes no more than ``deployment.max_size_mb``."""
    forms = {"transformers": export.size_bytes}
    forms |= {f"ONNX {one.precision}": one.size_bytes for one in export.onnx if one.kept}
    smallest = min(forms, key=forms.__getitem__)
    found, limit = forms[smallest] / 1e6, config.max_size_mb
    says = f"the smallest form, {smallest}, takes {found:.1f} MB"
    if limit is None:
        return off("size", f"{says}; deployment.max_size_mb is not set", found)
    return measured("size", passed_if(found <= limit), says, found, limit)
