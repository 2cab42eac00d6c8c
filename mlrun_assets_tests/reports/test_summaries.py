from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mlrun_assets.records import DebtItem
from mlrun_assets.reports import summaries
from mlrun_assets_tests.examples import blocked_run, full_run, poisoned
from mlrun_assets_tests.reports.markdown_structure import kinds, tables, uneven_rows

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


def test_the_sentence_gives_the_numbers_of_the_record() -> None:
    run = full_run()
    assert run.dataset and run.checkpoint and run.evaluation and run.decision and run.tech_debt
    numbers = {
        "dataset": [run.dataset.rows, 1, 0],
        "checkpoint": [run.checkpoint.seed, len(run.checkpoint.seeds)],
        "decision": [],
        "tech_debt": [len(run.tech_debt.numbers(one)) for one in ("new", "repeated", "resolved")],
    }
    for stage, wanted in numbers.items():
        sentence = summarise(stage, getattr(run, stage)).split("\n\n")[0]
        assert [int(each) for each in re.findall(r"\d+", sentence)][: len(wanted)] == wanted
    assert f"{run.evaluation.f1.value:.3f} [" in summarise("evaluation", run.evaluation)
    assert summarise("decision", run.decision).startswith(f"**{run.decision.verdict}: ")


def test_counts_and_nouns_agree() -> None:
    run = full_run()
    assert run.experiment and run.plan and run.registry
    debt = DebtItem(number=1, description="a", impact="Low")
    for items in (1, 2):
        plural = "s" if items > 1 else ""
        known = run.experiment.model_copy(
            update={
                "prior_runs": run.experiment.prior_runs[:1] * items,
                "open_debt": (debt,) * items,
            }
        )
        summary = summarise("experiment", known)
        assert f"{items} prior run{plural}, {items} open tech-debt item{plural}**" in summary
        line = run.registry.model_copy(update={"lines_before": items})
        assert f" {items} earlier line{plural}**" in summarise("registry", line)
        plan = run.plan.model_copy(update={"seeds": (13, 42)[:items]})
        assert f", {items} seed{plural}**" in summarise("plan", plan)


def test_data_that_are_not_ready_show_what_blocks() -> None:
    summary = summarise("dataset", blocked_run().dataset)
    assert summary.startswith("**Not ready") and "; 1 blocking check, " in summary
    assert "| `split_leakage` | **blocks** | 7 |" in summary


def test_production_that_was_empty() -> None:
    run = full_run()
    assert run.production
    summary = summarise("production", run.production.model_copy(update={"before": None}))
    assert "| before | none | – |" in summary  # noqa: RUF001
