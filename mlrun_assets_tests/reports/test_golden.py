"""The report and the card whole, and the proof that the product writes what they are made of."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlrun_assets.config import load_config
from mlrun_assets.data import validation as data
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets_tests.examples import decide_again, full_run, plan_again, write_dirty_project
from mlrun_assets_tests.reports.regenerate_golden import (
    GOLDEN_CARD,
    GOLDEN_REPORT,
    golden_card,
    golden_report,
)

MEANT = "if the change is meant: python -m mlrun_assets_tests.reports.regenerate_golden"


def test_the_report_is_the_golden_one() -> None:
    assert golden_report() == GOLDEN_REPORT.read_text(encoding="utf-8"), f"{MEANT} rendered"


def test_the_card_is_the_golden_one() -> None:
    assert golden_card() == GOLDEN_CARD.read_text(encoding="utf-8"), f"{MEANT} rendered"


def test_the_product_decides_as_recorded() -> None:
    assert decide_again(full_run()) == full_run().decision, MEANT


def test_the_product_plans_as_recorded() -> None:
    assert plan_again(full_run()) == full_run().plan, MEANT


def test_the_product_validates_the_data_as_recorded(tmp_path: Path, tiny_encoder: Path) -> None:
    recorded = full_run().dataset
    assert recorded
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    config = load_config(write_dirty_project(tmp_path))
    count = data.token_counter(resolve_encoder("./encoder", None, tmp_path))
    record = data.validate_dataset(config, tmp_path / "experiment", count, None)
    assert (record.digest, record.labels) == (recorded.digest, recorded.labels), MEANT
    assert record.quarantine_reasons == recorded.quarantine_reasons
    assert record.normalised == recorded.normalised
    assert [check.name for check in record.checks] == [check.name for check in recorded.checks]
