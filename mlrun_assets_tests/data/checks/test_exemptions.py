from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlrun_assets.config import CheckName, DataConfig
from mlrun_assets.data.checks.base import CheckResult, Dataset, Measured, judged
from mlrun_assets.data.checks.suite import CHECKS, run_check, run_checks
from mlrun_assets.data.reading import DataFile, read_split
from mlrun_assets_tests.examples import ENGLISH, SOMALI, dataset_of

TEXTS = (*SOMALI, *ENGLISH)
SOURCES = ["radio", "radio", "radio", "radio", "wire", "wire"]


def data_config(**exempt: dict[str, list[str | int]]) -> DataConfig:
    skip = [name for name in CHECKS if name != "language"]
    return DataConfig.model_validate({"quality": {"exempt": exempt, "skip": skip}})


@pytest.mark.parametrize(
    ("exempt", "rows"),
    [
        ({}, 2),
        ({"pii": {"source": ["wire"]}}, 2),
        ({"language": {"source": ["radio"]}}, 2),
        ({"language": {"source": ["wire", "blog"]}}, 0),
    ],
)
def test_exempt_rows_are_left_out_of_that_check_only(
    exempt: dict[str, dict[str, list[str | int]]], rows: int
) -> None:
    found = run_checks(dataset_of(TEXTS, data_config(**exempt), extra_source=SOURCES))
    assert [each.check.rows for each in found if each.check.name == "language"] == [rows]


def test_the_message_says_how_many_rows_are_exempt() -> None:
    data = data_config(language={"source": ["wire"]})
    found = run_check("language", CHECKS["language"], dataset_of(TEXTS, data, extra_source=SOURCES))
    assert found.check.message.endswith("(2 rows exempt)")


def test_columns_of_a_check_are_as_long_as_the_split_again() -> None:
    def tag(dataset: Dataset) -> CheckResult:
        texts = dataset.splits["train"].frame["text"]
        columns = (
            texts.str.contains("a").alias("has_a"),
            texts.str.len_chars().alias("characters"),
        )
        return CheckResult(judged("pii", Measured(None, None), "tagged"), {"train": columns})

    data = data_config(pii={"source": ["radio"], "year": [2021]})
    dataset = dataset_of(
        ["ka", "la", "ma", "ba", "ta"],
        data,
        extra_source=["radio", "wire", None, "wire", "radio"],
        extra_year=["2020", "2021", "2020", None, "2021"],
    )
    has_a, characters = run_check("pii", tag, dataset).columns["train"]
    assert has_a.to_list() == [False, False, True, True, False]
    assert characters.to_list() == [None, None, 2, 2, None]
    assert dataset.splits["train"].frame.with_columns(has_a, characters).height == 5


ABOUT_ROWS = [name for name in CHECKS if name != "schema"]


@pytest.mark.parametrize("name", ABOUT_ROWS)
def test_every_check_bears_that_all_rows_are_exempt(name: CheckName) -> None:
    data = data_config(**{name: {"source": ["wire"]}})
    dataset = dataset_of(SOMALI, data, extra_source=["wire"] * len(SOMALI))
    found = run_check(name, CHECKS[name], dataset)
    assert found.check.message.endswith("(12 rows exempt)")


def test_columns_named_in_exemptions_are_read(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    rows = [
        {"text": "qoraal kale", "label": "a", "source": "wire", "year": 2021, "part": "x"},
        {"text": "qoraal", "label": "b", "source": None, "year": 2020, "part": "y"},
        {"text": "qoraal", "label": "b", "source": "wire", "part": "y"},
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    data = DataConfig.model_validate(
        {
            "slice_columns": ("part", "source"),
            "quality": {"exempt": {"pii": {"source": ("wire",), "year": (2021,)}}},
        }
    )
    assert data.extra_columns == ("part", "source", "year")
    read = read_split("train", [DataFile("train.jsonl", file)], data)
    assert read.frame.select("extra_source", "extra_year").rows() == [
        ("wire", "2021"),
        (None, "2020"),
    ]
    assert [bad.detail[:10] for bad in read.quarantined] == ["no `year`;"]
