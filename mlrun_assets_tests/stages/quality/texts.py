"""Datasets of a few texts, as the checks get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from mlrun_assets.config import CheckName, DataConfig
from mlrun_assets.records import QualityCheck
from mlrun_assets.stages.quality.checks import CHECKS
from mlrun_assets.stages.quality.exemptions import run_check
from mlrun_assets.stages.quality.finding import Dataset
from mlrun_assets.stages.quality.language import add_language
from mlrun_assets.stages.quality.normalising import normalise_rows
from mlrun_assets.stages.quality.reading import SplitRows
from mlrun_assets.text import duplicate_key, language_profile

SOMALI = (
    "Ciyaartoyda kooxda qaranka ayaa maanta tababar ku qaatay garoonka magaalada Muqdisho.",
    "Wasaaradda caafimaadka ayaa sheegtay in la tallaalay kumanaan carruur ah sannadkan.",
    "Beeralaydu waxay sheegeen in roobka deyrtu uu sannadkan ka fiicnaa kii hore.",
    "Xildhibaannada baarlamaanka ayaa maanta ka doodaya miisaaniyadda cusub ee dowladda.",
)
ENGLISH = (
    "The national team trained in the stadium of the capital city this morning.",
    "The ministry of health said that thousands of children were vaccinated this year.",
)


def split_of(name: str, texts: Sequence[str], data: DataConfig, **columns: Any) -> SplitRows:
    frame = pl.DataFrame(
        {
            "id": [f"{name}-{number}" for number in range(len(texts))],
            "text": list(texts),
            "label": ["ab"[number % 2] for number in range(len(texts))],
            **columns,
        },
        schema_overrides={"id": pl.String, "text": pl.String, "label": pl.String},
    )
    rows = SplitRows(name, f"{name}.jsonl", len(texts), frame)
    rows, _ = normalise_rows(rows, language_profile(data.language).steps)
    keys = pl.Series("key", [duplicate_key(text) for text in rows.frame["text"]], dtype=pl.String)
    rows.frame = add_language(rows.frame.with_columns(keys), data).with_columns(
        tokens=pl.col("text").str.count_matches(r"\S+").cast(pl.Int64),
        unknown=pl.lit(0, dtype=pl.Int64),
    )
    return rows


def dataset_of(train: Sequence[str], data: DataConfig, **columns: Any) -> Dataset:
    """``train`` with ``columns``, val and test in Somali."""
    other = {name: [values[0]] * len(SOMALI) for name, values in columns.items()}
    splits = {
        "train": split_of("train", train, data, **columns),
        "val": split_of("val", SOMALI, data, **other),
        "test": split_of("test", SOMALI, data, **other),
    }
    return Dataset(splits, ("a", "b"), None, 128, data)


def check_texts(name: CheckName, train: Sequence[str], **settings: Any) -> QualityCheck:
    """What the check says of ``train``; ``settings`` are those of ``data.quality``."""
    data = DataConfig(language=settings.pop("language", "som"), quality=settings)
    return run_check(name, CHECKS[name], dataset_of(train, data)).check
