from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlrun_assets.reporting import summaries
from mlrun_assets_tests.reporting.conftest import blocked_run, full_run, poisoned
from mlrun_assets_tests.reporting.markdown_structure import kinds, tables, uneven_rows

STAGES = (
    "experiment",
    "dataset",
    "plan",
    "baseline",
    "checkpoint",
    "evaluation",
    "export",
    "decision",
    "production",
    "registry",
    "tech_debt",
)


def summarise(stage: str, record: object) -> str:
    function: Callable[[Any], str] = getattr(summaries, f"summarise_{stage}")
    return function(record)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("bad", [False, True])
def test_a_summary_is_one_bold_sentence_and_one_table(stage: str, bad: bool) -> None:
    run = poisoned(full_run()) if bad else full_run()
    summary = summarise(stage, getattr(run, stage))
    found = kinds(summary)
    assert found[:2] == ["paragraph_open", "inline"]
    assert found.count("paragraph_open") == found.count("table_open") == 1
    assert summary.startswith("**")
    assert summary.split("\n\n")[0].endswith("**")
    assert len(tables(summary)[0]) > 2
    assert uneven_rows(summary) == []
    assert not {"html_block", "html_inline", "link_open", "heading_open"} & set(found)


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("experiment", "xlm-r-fine-tune-v2: 7 prior runs, 1 open tech-debt items"),
        ("dataset", "Ready: 1,321 rows, 2 quarantined; 0 checks block, 2 warn; 479 changes to "),
        (
            "plan",
            "embedded:multilingual-e5-small: up to 12 epochs, learning rate 0.0001, batch size 16, "
            "3 seeds",
        ),
        (
            "checkpoint",
            "Best on val: seed 42 of 3, epoch 5; 5 min 11 s, 2,317 tokens/s; pretrained on 1,905 "
            "texts in 3 min 25 s",
        ),
        (
            "evaluation",
            "Test macro-F1 0.739 [0.679, 0.799] (0.735 ± 0.014 over 3 seeds), accuracy 0.851 "
            "[0.801, 0.901] on 154 ",
        ),
        ("decision", "REJECTED: test macro-F1 0.739 is below 0.820"),
        ("tech_debt", "1 new, 1 repeated, 0 resolved"),
    ],
)
def test_the_sentence_says_what_counts(stage: str, sentence: str) -> None:
    assert summarise(stage, getattr(full_run(), stage)).startswith(f"**{sentence}")


def test_data_that_are_not_ready_show_what_blocks() -> None:
    summary = summarise("dataset", blocked_run().dataset)
    assert summary.startswith(
        "**Not ready: 1,321 rows, 2 quarantined; 1 checks block, 2 warn; 479 changes to texts; 886 "
        "texts without labels**"
    )
    assert "| `split_leakage` | **blocks** | 7 |" in summary


def test_production_that_was_empty() -> None:
    run = full_run()
    assert run.production
    summary = summarise("production", run.production.model_copy(update={"before": None}))
    assert "| before | none | – |" in summary  # noqa: RUF001
