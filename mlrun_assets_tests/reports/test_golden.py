"""The whole documents, and proof that the product writes the records behind them."""

import shutil
from pathlib import Path

import pytest

from mlrun_assets_tests.examples import decide_again, full_run, plan_again
from mlrun_assets_tests.reports.regenerate_golden import golden, validate_again

MEANT = "if intended: python -m mlrun_assets_tests.reports.regenerate_golden rendered"


@pytest.mark.parametrize("file", golden(), ids=lambda file: file.stem)
def test_each_document_equals_the_golden_one(file: Path) -> None:
    assert golden()[file] == file.read_text(encoding="utf-8"), MEANT


def test_the_product_decides_and_plans_as_recorded() -> None:
    assert decide_again(full_run()) == full_run().decision, MEANT
    assert plan_again(full_run()) == full_run().plan, MEANT


def test_the_product_validates_the_data_as_recorded(tmp_path: Path, tiny_encoder: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    assert validate_again(full_run(), tmp_path) == full_run().dataset, MEANT
