"""The whole report and card, and proof that the product writes the records behind them."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlrun_assets_tests.examples import decide_again, full_run, plan_again
from mlrun_assets_tests.reports.regenerate_golden import (
    GOLDEN_CARD,
    GOLDEN_REPORT,
    golden_card,
    golden_report,
    validate_again,
)

MEANT = "if intended: python -m mlrun_assets_tests.reports.regenerate_golden rendered"


def test_the_report_equals_the_golden_one() -> None:
    assert golden_report() == GOLDEN_REPORT.read_text(encoding="utf-8"), MEANT


def test_the_card_equals_the_golden_one() -> None:
    assert golden_card() == GOLDEN_CARD.read_text(encoding="utf-8"), MEANT


def test_the_product_decides_as_recorded() -> None:
    assert decide_again(full_run()) == full_run().decision, MEANT


def test_the_product_plans_as_recorded() -> None:
    assert plan_again(full_run()) == full_run().plan, MEANT


def test_the_product_validates_the_data_as_recorded(tmp_path: Path, tiny_encoder: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    assert validate_again(full_run(), tmp_path) == full_run().dataset, MEANT
