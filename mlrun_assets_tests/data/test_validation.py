"""The stage as a whole: what it reads, what it writes, and the run it is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandera.config import config_context

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.data import rows as rows_module
from mlrun_assets.data.checks.base import Previous
from mlrun_assets.data.reading import SplitRows, normalise_rows
from mlrun_assets.data.text import ALL_STEPS, normalise
from mlrun_assets.data.validation import (
    data_name,
    find_previous,
    token_counter,
    validate_dataset,
)
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import DataError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import SPLITS, DatasetRecord, PriorRun
from mlrun_assets_tests.examples import SOMALI, MakeProject, count_words, write_rows


def validate(
    config: LoadedConfig, directory: Path, previous: Previous | None = None
) -> DatasetRecord:
    return validate_dataset(config, directory, count_words, previous)


def text_of(name: str) -> str:
    return " ".join(f"{name}{number}" for number in range(40))


def test_leaking_rows_are_marked_in_the_file_and_conflicts_listed(
    make_project: MakeProject, tmp_path: Path
) -> None:
    config = load_config(make_project())
    train = [{"text": text_of(name), "label": label} for name, label in ("ab", "cd", "ed")]
    test = [
        {"text": text_of("a") + " dheeraad", "label": "b"},
        {"text": text_of("c"), "label": "b"},
        {"text": text_of("x"), "label": "d"},
    ]
    write_rows(tmp_path / "data" / "train.jsonl", train)
    write_rows(tmp_path / "data" / "test.jsonl", test)
    record = validate(config, tmp_path / "run")
    assert not record.ready
    assert record.name == "data"
    marked = {
        split: pl.read_parquet(ExperimentPaths(tmp_path / "run").split(split)) for split in SPLITS
    }
    assert marked["test"]["leaks"].to_list() == [True, True, False]
    leaks = ExperimentPaths(tmp_path / "run").leaks.read_bytes().splitlines()
    sides = ("split", "line", "other_split", "other_line")
    assert [tuple(map(orjson.loads(line).get, sides)) for line in leaks] == [
        ("test", 2, "train", 2),
        ("test", 1, "train", 1),
    ]
    assert not marked["train"]["leaks"].any()
    review = [
        orjson.loads(line)
        for line in ExperimentPaths(tmp_path / "run").review_labels.read_bytes().splitlines()
    ]
    listed = {(row["split"], row["id"]) for row in review if row["why"].startswith("equal")}
    assert listed == {("train", "train-2"), ("test", "test-2")}
    assert not any("text" in row for row in review)


@pytest.mark.parametrize(
    "setting",
    [{"validation_enabled": False}, {"validation_depth": "SCHEMA_ONLY"}],
)
def test_no_setting_of_pandera_turns_the_schema_off(
    make_project: MakeProject, tmp_path: Path, setting: dict[str, Any]
) -> None:
    config = load_config(make_project(data={"labels": ["a", "b"]}, model={"num_labels": None}))
    rows = [("one", "a"), (" ", "a"), ("three", "A")]
    write_rows(tmp_path / "data" / "train.jsonl", [{"text": t, "label": a} for t, a in rows])
    with config_context(**setting):
        record = validate(config, tmp_path / "run")
    assert not record.ready
    assert record.splits["train"].rows_kept == 1
    assert record.quarantine_reasons["empty text"] == 1


def test_a_few_conflicting_rows_are_quarantined_and_the_rest_goes_on(
    make_project: MakeProject, tmp_path: Path
) -> None:
    config = load_config(make_project(data={"quality": {"max_conflicting_fraction": 0.5}}))
    rows = [
        {"text": text_of(name), "label": label} for name, label in ("ax", "by", "cx", "cy", "dy")
    ]
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    record = validate(config, tmp_path / "run")
    check = next(check for check in record.checks if check.name == "conflicting_labels")
    assert check.warns
    assert check.rows == 2
    train = record.splits["train"]
    assert (train.rows_read, train.rows_kept, train.rows_quarantined) == (5, 3, 2)
    assert record.quarantine_reasons["conflicting labels"] == 2
    kept = pl.read_parquet(tmp_path / "run" / train.file)
    assert text_of("c") not in kept["text"].to_list()
    train_file = str(tmp_path / "data" / "train.jsonl")
    assert kept.select("file", "line").rows() == [(train_file, line) for line in (1, 2, 5)]
    quarantine = (tmp_path / "run" / record.quarantine_file).read_bytes().splitlines()
    aside = [row for row in map(orjson.loads, quarantine) if row["split"] == "train"]
    assert [(row["line"], row["reason"]) for row in aside] == [
        (line, "conflicting labels") for line in (3, 4)
    ]


def test_the_name_of_the_data_is_configured_or_its_directory(make_project: MakeProject) -> None:
    assert data_name(load_config(make_project())) == "data"
    assert data_name(load_config(make_project(data={"name": "warar"}))) == "warar"


def test_tokens_are_counted_whole_after_the_tokenizer_was_used_to_cut(tiny_encoder: Path) -> None:
    source = resolve_encoder(str(tiny_encoder), None, tiny_encoder)
    load_tokenizer(source)("a b c d", truncation=True, padding="max_length", max_length=3)
    few, many = token_counter(source)(["a", "a b c d"]).tokens
    assert few < many and many > 3


def test_the_previous_dataset_is_the_newest_of_the_name_that_was_sound(
    make_project: MakeProject,
) -> None:
    config = load_config(make_project())
    for experiment in ("exp_1", "exp_2", "exp_3"):
        validate(config, config.experiments_dir / experiment)
    runs = [
        PriorRun(report="e.md", status="Complete", experiment="exp_gone", data_name="data"),
        PriorRun(report="d.md", status="Complete", experiment="exp_1", data_name="other"),
        PriorRun(report="c.md", status="Blocked", experiment="exp_3", data_name="data"),
        PriorRun(report="b.md", status="Complete", experiment="exp_2", data_name="data"),
        PriorRun(report="a.md", status="Complete", experiment="exp_1", data_name="data"),
    ]
    previous = find_previous(config, runs)
    assert previous is not None
    assert previous.experiment == "exp_2"
    assert find_previous(config, runs[:3]) is None
    record = validate(config, config.experiments_dir / "exp_4", previous)
    drift = next(check for check in record.checks if check.name == "drift_from_previous")
    assert drift.message == "the rows are those of exp_2"


def test_texts_without_labels_are_stored_with_the_splits(
    make_project: MakeProject, tmp_path: Path
) -> None:
    file = make_project(data={"unlabelled_path": "more/*.jsonl"})
    texts = [{"text": text_of(name)} for name in ("l", "m", "n", "m")]
    write_rows(tmp_path / "more" / "a.jsonl", [*texts, {"text": None}])
    test_row = (tmp_path / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()[0]
    write_rows(tmp_path / "more" / "b.jsonl", [orjson.loads(test_row)])
    record = validate(load_config(file), tmp_path / "run")
    assert record.unlabelled is not None
    assert [source.rows_read for source in record.unlabelled.files] == [5, 1]
    left_out = {"can't be read": 1, "repeated": 1, "known from val or test": 1}
    assert record.unlabelled.left_out == left_out
    quarantine = (tmp_path / "run" / record.quarantine_file).read_bytes().splitlines()
    aside = [(row["file"], row["line"], row["reason"]) for row in map(orjson.loads, quarantine)]
    assert aside == [(str(tmp_path / "more" / "a.jsonl"), 5, "missing text")]
    written = pl.read_parquet(tmp_path / "run" / record.unlabelled.file)
    assert written["text"].to_list() == [text_of(name) for name in "lmn"]
    assert set(record.splits) == set(SPLITS)


def test_missing_texts_are_reported_with_the_other_files(
    make_project: MakeProject, tmp_path: Path
) -> None:
    file = make_project(data={"unlabelled_path": "more.jsonl", "val_path": "gone.jsonl"})
    message = r"data\.val_path: \S+: no such file; data\.unlabelled_path: \S+: no such file"
    with pytest.raises(DataError, match=message):
        validate(load_config(file), tmp_path / "run")


@pytest.mark.parametrize(("language", "apostrophe"), [("som", "'"), ("gaz", "\u2019")])
def test_the_splits_hold_the_normal_form_and_checks_see_the_text_as_it_came(
    make_project: MakeProject, tmp_path: Path, language: str, apostrophe: str
) -> None:
    file = make_project(data={"language": language})
    marked = "M\ufeffareykanku go\u2019aan\u00a0cusub  ayay qaateen"
    texts = (marked, "\u200b \u200b" if language == "som" else " ", *SOMALI)
    rows = [{"text": text, "label": "health"} for text in texts]
    write_rows(tmp_path / "data" / "val.jsonl", rows)
    record = validate(load_config(file), tmp_path / "run")
    frame = pl.read_parquet(ExperimentPaths(tmp_path / "run").split("val"))
    assert frame["text"][0] == f"Mareykanku go{apostrophe}aan cusub ayay qaateen"
    assert {"language", "code_switched"} <= set(frame.columns)
    assert not {"raw", "key"} & set(frame.columns)
    assert record.quarantine_reasons == {"empty text": 1}
    assert record.splits["val"].rows_read == record.splits["val"].rows_kept + 1
    found = {check.name: check for check in record.checks}
    assert "1 invisible characters, 1 no-break spaces, 1 mixed" in found["encoding"].message
    if language == "som":
        assert record.normalised == {
            "zero-width spaces deleted": 2,
            "byte order marks deleted": 1,
            "apostrophes made U+0027": 1,
            "no-break spaces made spaces": 1,
            "runs of white space collapsed": 2,
        }


@given(st.lists(st.text(st.sampled_from("a'\u2019`. \u00a0\n\u00e9e\u0301\u200b"), max_size=8)))
def test_rows_are_normalised_one_by_one_and_keep_what_they_were(texts: list[str]) -> None:
    frame = pl.DataFrame(
        {"text": texts, "label": "x"}, schema={"text": pl.String, "label": pl.String}
    )
    rows, changes = normalise_rows(SplitRows("train", "train.jsonl", frame), ALL_STEPS)
    results = [normalise(text) for text in texts]
    assert rows.frame["raw"].to_list() == texts
    assert rows.frame["text"].to_list() == [result.text for result in results]
    assert changes.total() == sum(sum(result.changes.values()) for result in results)


def test_quarantined_rows_are_counted_and_of_each_reason_the_first_are_listed(
    make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_LISTED", 2)
    config = load_config(make_project(data={"labels": ["x", "y", "w"]}))
    bad = [{"text": "a b"}, {"text": "a b", "label": "z"}, {"text": " ", "label": "x"}]
    good = [{"text": text_of(label), "label": label} for label in "xy"]
    write_rows(tmp_path / "data" / "train.jsonl", [*good, *bad * 3])
    record = validate(config, tmp_path / "run")
    train = record.splits["train"]
    assert (train.rows_read, train.rows_kept, train.rows_quarantined) == (11, 2, 9)
    assert train.files[0].rows_read == 11
    lines = (tmp_path / "run" / record.quarantine_file).read_bytes().splitlines()
    aside = [row for row in map(orjson.loads, lines) if row["split"] == "train"]
    assert [(row["line"], row["reason"]) for row in aside[:6]] == [
        (line, reason)
        for start in (3, 6)
        for line, reason in enumerate(["missing column", "unknown label", "empty text"], start)
    ]
    assert {row["detail"] for row in aside[6:]} == {"1 more row with this reason, not listed"}
    assert {row["reason"] for row in aside[6:]} == {row["reason"] for row in aside[:6]}
    schema = next(check for check in record.checks if check.name == "schema")
    assert schema.message.startswith("81.8 % of train") and "first 10,000 rows" in schema.message
