from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import load_config
from mlrun_assets.data.reading import SplitRows, normalise_rows
from mlrun_assets.data.text import ALL_STEPS, normalise
from mlrun_assets.data.validation import TokenCounts, validate_dataset
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import DatasetRecord
from mlrun_assets_tests.examples import SOMALI, MakeProject, write_rows

MARKED = "M\ufeffareykanku go\u2019aan\u00a0cusub  ayay qaateen"


def words(texts: list[str]) -> TokenCounts:
    counts = np.array([len(text.split()) for text in texts], dtype=np.int64)
    return TokenCounts(counts, np.zeros_like(counts))


def validate(make_project: MakeProject, directory: Path, **data: object) -> DatasetRecord:
    file = make_project(data=data)
    rows = [{"id": "1", "text": MARKED, "label": "farming"}]
    rows += [{"id": "2", "text": "\u200b \u200b", "label": "farming"}]
    rows += [
        {"id": str(number), "text": text, "label": "health"}
        for number, text in enumerate(SOMALI, 3)
    ]
    write_rows(file.parent / "data" / "val.jsonl", rows)
    return validate_dataset(load_config(file), directory, words)


def test_the_validated_splits_hold_the_normal_form(
    make_project: MakeProject, tmp_path: Path
) -> None:
    record = validate(make_project, tmp_path / "run")
    frame = pl.read_parquet(ExperimentPaths(tmp_path / "run").split("val"))
    assert frame["text"][0] == "Mareykanku go'aan cusub ayay qaateen"
    assert {"language", "code_switched"} <= set(frame.columns)
    assert not {"raw", "key"} & set(frame.columns)
    assert record.normalised == {
        "zero-width spaces deleted": 2,
        "byte order marks deleted": 1,
        "apostrophes made U+0027": 1,
        "no-break spaces made spaces": 1,
        "runs of white space collapsed": 2,
    }
    assert record.quarantine_reasons == {"empty text": 1}
    assert record.splits["val"].rows_read == record.splits["val"].rows_kept + 1


def test_checks_see_the_text_as_it_came(make_project: MakeProject, tmp_path: Path) -> None:
    record = validate(make_project, tmp_path / "run")
    found = {check.name: check for check in record.checks}
    assert found["encoding"].warns
    assert "1 invisible characters, 1 no-break spaces, 1 mixed" in found["encoding"].message


def test_another_language_keeps_its_apostrophes(make_project: MakeProject, tmp_path: Path) -> None:
    validate(make_project, tmp_path / "run", language="gaz")
    frame = pl.read_parquet(ExperimentPaths(tmp_path / "run").split("val"))
    assert frame["text"][0] == "Mareykanku go\u2019aan cusub ayay qaateen"


@given(st.lists(st.text(st.sampled_from("a'\u2019`. \u00a0\n\u00e9e\u0301\u200b"), max_size=8)))
def test_rows_are_normalised_one_by_one_and_keep_what_they_were(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    rows, changes = normalise_rows(SplitRows("train", "train.jsonl", len(texts), frame), ALL_STEPS)
    results = [normalise(text) for text in texts]
    assert rows.frame["raw"].to_list() == texts
    assert rows.frame["text"].to_list() == [result.text for result in results]
    assert changes.total() == sum(sum(result.changes.values()) for result in results)
