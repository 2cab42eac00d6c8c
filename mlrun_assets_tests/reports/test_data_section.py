from collections import Counter
from math import nan

from mlrun_assets import records as r
from mlrun_assets.config import DataConfig
from mlrun_assets.markdown import visible
from mlrun_assets.reports.data_section import conclusions, failed_rows, render_datasheet
from mlrun_assets_tests.examples import full_run, poisoned
from mlrun_assets_tests.reports.markdown_structure import kinds, tables, uneven_rows

FOUND = full_run().dataset
assert FOUND
DATASET = FOUND


def sheet(record: r.DatasetRecord = DATASET, **changes: object) -> str:
    return render_datasheet(record.model_copy(update=changes), DataConfig())


def test_blocked_data_says_so_first() -> None:
    assert "blocked" in sheet(ready=False).split("##")[0]
    assert "blocked" not in sheet().split("##")[0]


def test_a_licence_that_is_not_set_is_asked_for() -> None:
    assert "Licence: *to be filled in by the publisher of the data (`data.licence`).*" in sheet()


def test_without_token_counts_there_are_dashes_and_no_table_of_them() -> None:
    nothing = {"tokens_max": 0, "tokens_per_word_by_label": {}}
    nothing |= dict.fromkeys(("tokens_median", "tokens_p95", "tokens_per_word"), nan)
    splits = {name: part.model_copy(update=nothing) for name, part in DATASET.splits.items()}
    without = sheet(splits=splits)
    assert "nan" not in without
    assert len(tables(without)) == len(tables(sheet())) - 1


def test_no_string_of_the_data_changes_the_structure() -> None:
    bad = poisoned(full_run()).dataset
    assert bad
    ordinary = {"text", "code_inline", "softbreak"}
    found, wanted = (
        Counter(kind for kind in kinds(text) if kind not in ordinary)
        for text in (sheet(bad), sheet())
    )
    assert uneven_rows(sheet(bad)) == []
    assert found == wanted
    assert visible(sheet(bad)) == sheet(bad)


def test_what_blocks_comes_first() -> None:
    blocking = DATASET.checks[-1].model_copy(
        update={"outcome": r.CheckOutcome.FAILED, "severity": r.Severity.ERROR, "message": "a\nb"}
    )
    found = DATASET.model_copy(update={"checks": (*DATASET.checks[:-1], blocking)})
    first, *others = failed_rows(found)
    assert first == ("pii", "BLOCKS", "a b")
    assert {result for _, result, _ in others} == {"warns"}
    assert conclusions(found)[-1] == "blocked by pii"
