"""Section ``evaluation``: how the test scores are computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mlrun_assets.config.values import Count, Number, Section

# What a slice of every evaluation is called; `data.slice_columns` have other names.
BUILT_IN_SLICES = ("length", "truncated", "code-switched")


class EvaluationConfig(Section):
    """How the test scores are computed."""

    f1: Literal["macro", "weighted"] = Field("macro", description="The F1 that min_f1 means.")
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = Field(
        0.95, description="Confidence level of all intervals."
    )
    resamples: Annotated[int, Strict(), Field(ge=2000)] = Field(
        2000, description="Resamples of the bootstraps."
    )
    max_looks: Count = Field(
        10,
        description="Models that may be judged on one test split before its estimate is worn: "
        "each further one widens the intervals (Bonferroni).",
    )
