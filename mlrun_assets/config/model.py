"""Section ``model``: the encoder to fine-tune."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mlrun_assets.config.values import Auto, Flag, Section, Text


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name: Text = Field(
        "embedded:multilingual-e5-small",
        description="A hub id, a directory, or `embedded:multilingual-e5-small` (offline).",
    )
    revision: Text | None = Field(None, description="Commit or tag that a hub id is pinned to.")
    num_labels: Annotated[int, Strict(), Field(ge=2)] | None = Field(
        None, description="How many labels the data must have; unset: as many as it has."
    )
    max_length: Annotated[int, Strict(), Field(ge=8)] = Field(
        128, description="Tokens of a text that the model reads; the rest is cut off."
    )
    pooling: Literal["auto", "first", "mean"] = Field(
        "auto", description="What the classifier reads: the first token's state, or the mean."
    )
    trim_vocabulary: Flag | Auto = Field(
        "auto", description="Keep only the word pieces that the data needs (auto: on a CPU)."
    )
    ensemble: Flag = Field(
        False,
        description="Mix the encoder with the best n-gram model, by weights fitted on val. It is "
        "served with the n-gram model's code in its directory: `trust_remote_code=True`.",
    )
