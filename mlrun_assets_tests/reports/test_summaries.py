import pytest

from mlrun_assets.markdown import visible
from mlrun_assets.reports.sentences import STAGES
from mlrun_assets_tests.examples import blocked_run, changed_run, full_run, poisoned
from mlrun_assets_tests.reports.markdown_structure import kinds, tables, uneven_rows
from mlrun_assets_tests.reports.regenerate_golden import summarise


@pytest.mark.parametrize("stage", sorted(STAGES))
@pytest.mark.parametrize("bad", [False, True])
def test_a_summary_is_one_bold_sentence_and_one_table(stage: str, bad: bool) -> None:
    summary = summarise(stage, poisoned(full_run()) if bad else full_run())
    found = kinds(summary)
    assert found[:2] == ["paragraph_open", "inline"]
    assert found.count("paragraph_open") == found.count("table_open") == 1
    assert summary.startswith("**") and summary.split("\n\n")[0].endswith("**")
    assert len(tables(summary)[0]) > 2 and uneven_rows(summary) == []
    assert not {"html_block", "html_inline", "link_open", "heading_open"} & set(found)
    assert visible(summary) == summary


@pytest.mark.parametrize(("items", "plural"), [(1, ""), (2, "s")])
def test_counts_and_nouns_agree(items: int, plural: str) -> None:
    run = changed_run("experiment", known_runs=items, open_debt_items=items)
    sentence = f"{items} prior run{plural}, {items} open tech-debt item{plural}**"
    assert sentence in summarise("experiment", run)


def test_a_first_experiment_has_no_table_of_earlier_runs() -> None:
    summary = summarise("experiment", changed_run("experiment", known_runs=0, prior_runs=()))
    assert "No earlier runs yet." in summary and "|" not in summary


def test_data_that_are_not_ready_show_what_blocks() -> None:
    summary = summarise("dataset", blocked_run())
    assert summary.startswith("**Not ready") and "; 1 blocking check, " in summary
    assert "| `split_leakage` | **blocks** | 7 |" in summary


def test_production_that_was_empty() -> None:
    summary = summarise("production", changed_run("production", before=None))
    assert "| before | none | – |" in summary  # noqa: RUF001
