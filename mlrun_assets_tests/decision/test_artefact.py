from __future__ import annotations

import pytest

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.decision.rules import latency, size
from mlrun_assets.records import ExportRecord, OnnxExport, RuleOutcome
from mlrun_assets_tests.examples import export_record


def onnx(precision: str, latency_ms: float, size_bytes: int) -> OnnxExport:
    return OnnxExport(
        file=f"export/onnx/{precision}.onnx",
        precision=precision,
        size_bytes=size_bytes,
        agreement=1.0,
        val_f1_macro=0.8,
        load_seconds=0.1,
        latency_ms_p50=latency_ms / 2,
        latency_ms_p95=latency_ms,
        rows_per_second=100.0,
    )


def exported(*forms: OnnxExport) -> ExportRecord:
    facts = {"latency_ms_p95": 20.0, "size_bytes": 90_000_000, "onnx": forms}
    return export_record().model_copy(update=facts)


def test_no_limit_is_no_rule_but_tells_the_value() -> None:
    for rule in (latency(exported(), DeploymentConfig()), size(exported(), DeploymentConfig())):
        assert rule.outcome is RuleOutcome.OFF
        assert rule.value is not None
        assert "is not set" in rule.sentence


@pytest.mark.parametrize(("limit", "outcome"), [(8.0, "passed"), (7.9, "failed")])
def test_the_fastest_form_counts(limit: float, outcome: str) -> None:
    forms = (onnx("fp32", 12.0, 90_000_000), onnx("int8", 8.0, 23_000_000))
    rule = latency(exported(*forms), DeploymentConfig(max_latency_ms=limit))
    assert (rule.outcome, rule.value, rule.limit) == (outcome, 8.0, limit)
    assert "ONNX int8" in rule.sentence


@pytest.mark.parametrize(("limit", "outcome"), [(23.0, "passed"), (22.9, "failed")])
def test_the_smallest_form_counts(limit: float, outcome: str) -> None:
    rule = size(exported(onnx("int8", 8.0, 23_000_000)), DeploymentConfig(max_size_mb=limit))
    assert (rule.outcome, rule.value) == (outcome, 23.0)


def test_without_onnx_the_transformers_form_counts() -> None:
    rule = latency(exported(), DeploymentConfig(max_latency_ms=10.0))
    assert rule.outcome is RuleOutcome.FAILED
    assert "transformers" in rule.sentence


def test_a_form_that_was_tried_and_left_out_does_not_count() -> None:
    left_out = onnx("int8", 8.0, 23_000_000).model_copy(update={"kept": False})
    export = exported(left_out, onnx("float32", 12.0, 91_000_000))
    assert latency(export, DeploymentConfig(max_latency_ms=50.0)).value == 12.0
    assert size(export, DeploymentConfig(max_size_mb=100.0)).value == 90.0
