"""Section ``deployment``: what a model must reach, and what happens when it does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from mlrun_assets.config.values import Flag, Fraction, Number, Section, Text


def _off_from_yaml(value: object) -> object:
    # PyYAML follows YAML 1.1, where an unquoted off is false.
    return "off" if value is False else value


class DeploymentConfig(Section):
    """What a model must reach, and what happens when it does."""

    auto_deploy: Flag = Field(False, description="Move production when the verdict is APPROVED.")
    min_accuracy: Fraction = Field(0.85, description="Test accuracy that the model must reach.")
    min_f1: Fraction = Field(0.82, description="Test F1 that the model must reach.")
    gate_on: Literal["value", "ci_lower"] = Field(
        "value", description="Compare the thresholds with the score or with its lower bound."
    )
    beats_baseline: Annotated[
        Literal["advice", "strict", "off"], BeforeValidator(_off_from_yaml)
    ] = Field(
        "advice", description="What it means when the n-gram baseline is not shown to be worse."
    )
    policy: Annotated[
        Literal["non_inferior", "superior", "no_worse", "off"], BeforeValidator(_off_from_yaml)
    ] = Field("non_inferior", description="What must hold against the model in production.")
    margin: Annotated[Number, Field(gt=0.0, lt=0.5)] = Field(
        0.02, description="Loss of F1 against production that non_inferior tolerates."
    )
    max_recall_loss: Annotated[Number, Field(gt=0.0, le=1.0)] = Field(
        0.10,
        description="Loss of recall against production, of a label or a slice, that the guards "
        "tolerate; 1: any.",
    )
    max_latency_ms: Annotated[Number, Field(gt=0.0)] | None = Field(
        None, description="95th percentile of the time for one text that the export may take."
    )
    max_size_mb: Annotated[Number, Field(gt=0.0)] | None = Field(
        None, description="Size of the smallest exported form that may be reached, in 10**6 bytes."
    )
    onnx: Flag = Field(
        True, description="Export to ONNX too: float32, and int8 where it costs no quality."
    )
    max_int8_loss: Fraction = Field(
        0.005, description="Loss of val macro-F1 for which int8 weights are kept."
    )
    production_dir: Text = Field("production", description="Directory of deployed versions.")
