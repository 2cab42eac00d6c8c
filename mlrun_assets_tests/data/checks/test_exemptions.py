from __future__ import annotations

import pytest

from mlrun_assets.config import CheckName, DataConfig
from mlrun_assets.data.checks.base import CheckResult, Dataset, Measured, judged
from mlrun_assets.data.checks.suite import CHECKS, run_check, run_checks
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


def test_the_column_of_a_check_is_as_long_as_the_split_again() -> None:
    def tag(dataset: Dataset) -> CheckResult:
        column = dataset.splits["train"].frame["text"].str.contains("a").alias("has_a")
        return CheckResult(judged("pii", Measured(None, None), "tagged"), {"train": column})

    dataset = dataset_of(
        ["ka", "la", "ma", "ba", "ta"],
        data_config(pii={"source": ["radio"], "year": [2021]}),
        extra_source=["radio", "wire", None, "wire", "radio"],
        extra_year=["2020", "2021", "2020", None, "2021"],
    )
    has_a = run_check("pii", tag, dataset).columns["train"]
    assert has_a.name == "has_a"
    assert has_a.to_list() == [False, False, True, True, False]


ABOUT_ROWS = [name for name in CHECKS if name != "schema"]


@pytest.mark.parametrize("name", ABOUT_ROWS)
def test_every_check_bears_that_all_rows_are_exempt(name: CheckName) -> None:
    data = data_config(**{name: {"source": ["wire"]}})
    dataset = dataset_of(SOMALI, data, extra_source=["wire"] * len(SOMALI))
    found = run_check(name, CHECKS[name], dataset)
    assert found.check.message.endswith("(12 rows exempt)")


def test_columns_named_in_exemptions_are_read() -> None:
    exempt = {"pii": {"source": ("wire",), "year": (2021,)}}
    data = DataConfig(slice_columns=("part", "source"), quality={"exempt": exempt})
    assert data.extra_columns == ("part", "source", "year")
