from __future__ import annotations

from collections import Counter
from math import nan

from mlrun_assets import records as r
from mlrun_assets.config import DataConfig
from mlrun_assets.reports.data_section import list_checks
from mlrun_assets.reports.data_section import render_datasheet as render_for
from mlrun_assets_tests.examples import full_run, poisoned
from mlrun_assets_tests.reports.markdown_structure import kinds, tables, uneven_rows


def dataset() -> r.DatasetRecord:
    record = full_run().dataset
    assert record
    return record


def render_datasheet(record: r.DatasetRecord) -> str:
    return render_for(record, DataConfig())


def without_tokens(record: r.DatasetRecord) -> r.DatasetRecord:
    nothing = {
        "tokens_median": nan,
        "tokens_p95": nan,
        "tokens_max": 0,
        "tokens_per_word": nan,
        "tokens_per_word_by_label": {},
    }
    splits = {name: part.model_copy(update=nothing) for name, part in record.splits.items()}
    return record.model_copy(update={"splits": splits})


def test_the_datasheet_has_the_sources_and_counts_of_all_rows() -> None:
    record = dataset()
    sheet = render_datasheet(record)
    for name, split in record.splits.items():
        assert (
            f"| {name} | {split.rows_read} = {split.rows_kept} + {split.rows_quarantined} |"
            in sheet
        )
        assert split.source_digest.removeprefix("sha256:")[:12] in sheet
    assert record.unlabelled
    assert f"{record.unlabelled.rows_kept} of {record.unlabelled.rows_read} kept." in sheet
    for label, rows in record.splits["train"].label_rows.items():
        assert f"| {label} | {rows} (" in sheet
    assert "`class_balance` | warns" in sheet
    assert "data/quarantine.jsonl" in sheet
    assert sheet.startswith("# Datasheet") and sheet.endswith("|\n")
    assert "\n\n\n" not in sheet
    assert uneven_rows(sheet) == []


def test_the_datasheet_has_licence_and_language_of_the_config() -> None:
    sheet = render_for(dataset(), DataConfig(licence="cc-by-4.0", language="swa"))
    assert "Licence: `cc-by-4.0`." in sheet and "Language: `swa`." in sheet
    assert "data.licence" not in sheet and "\n\n\n" not in sheet


def test_blocked_data_says_so_first() -> None:
    sheet = render_datasheet(dataset().model_copy(update={"ready": False}))
    assert "blocked" in sheet.split("##")[0]
    assert "blocked" not in render_datasheet(dataset()).split("##")[0]


def test_without_token_counts_there_are_dashes_and_no_table_of_them() -> None:
    with_counts, without = (
        render_datasheet(each) for each in (dataset(), without_tokens(dataset()))
    )
    assert "nan" not in without
    assert len(tables(without)) == len(tables(with_counts)) - 1


def test_no_string_of_the_data_changes_the_structure() -> None:
    bad = poisoned(full_run()).dataset
    assert bad
    sheet, expected = render_datasheet(bad), render_datasheet(dataset())
    ordinary = {"text", "code_inline", "softbreak"}
    found, wanted = (
        Counter(kind for kind in kinds(text) if kind not in ordinary) for text in (sheet, expected)
    )
    assert uneven_rows(sheet) == []
    assert not {"html_block", "html_inline", "link_open", "s_open"} & set(found)
    assert found == wanted


def test_the_listing_has_a_line_a_check_and_a_verdict() -> None:
    record = dataset()
    lines = list_checks(record).splitlines()
    assert lines[0].split()[:3] == ["check", "result", "value"]
    assert [line.split()[0] for line in lines[1 : 1 + len(record.checks)]] == [
        check.name for check in record.checks
    ]
    assert lines[-2].startswith(f"train {record.splits['train'].rows_read} rows = ")
    assert lines[-1] == "ready to train on"


def test_the_listing_names_what_blocks() -> None:
    record = dataset()
    blocking = record.checks[0].model_copy(
        update={"outcome": r.CheckOutcome.FAILED, "severity": r.Severity.ERROR, "message": "a\nb"}
    )
    said = list_checks(record.model_copy(update={"checks": (blocking,)}))
    assert "schema  BLOCKS" in said and "a b" in said
    assert said.endswith("blocked by schema")
