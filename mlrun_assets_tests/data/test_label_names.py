"""Labels as the stage stores them: names or indices, one way in all files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlrun_assets.config import Config, DataConfig, LoadedConfig
from mlrun_assets.data.reading import DataFile, read_split
from mlrun_assets.data.rows import label_set, look_alikes
from mlrun_assets.data.sources import source_paths, split_sources
from mlrun_assets.data.validation import validate_dataset
from mlrun_assets.errors import DataError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import SPLITS, DatasetRecord, QualityCheck
from mlrun_assets_tests.examples import count_words, write_rows

NAMES = ["farming", "health", "sports"]


def rows_of(split: str, *labels: Any) -> list[dict[str, Any]]:
    return [
        label
        if isinstance(label, dict)
        else {"text": f"{split} qoraal {number} {number}a", "label": label}
        for number, label in enumerate(labels)
    ]


def validate(
    directory: Path, given: dict[str, list[Any]], **data: Any
) -> tuple[DatasetRecord, dict[str, Counter[str]]]:
    """The record, and the stored rows by label."""
    for split in SPLITS:
        file = write_rows(directory / f"{split}.jsonl", rows_of(split, *given[split]))
        data[f"{split}_path"] = str(file)
    config = LoadedConfig(settings=Config.model_validate({"data": data}), directory=directory)
    record = validate_dataset(config, directory / "run", count_words)
    files = {split: ExperimentPaths(directory / "run").split(split) for split in SPLITS}
    return record, {
        split: Counter(pl.read_parquet(file)["label"].to_list()) for split, file in files.items()
    }


def check_of(record: DatasetRecord, name: str) -> QualityCheck:
    return next(check for check in record.checks if check.name == name)


def quarantine(directory: Path, record: DatasetRecord) -> list[dict[str, Any]]:
    lines = (directory / "run" / record.quarantine_file).read_bytes().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("names", "labels", "stored"),
    [
        (NAMES, [0, 1, 2], NAMES),
        (NAMES, ["0", "01", "002"], NAMES),
        (NAMES, ["health", "sports"], ["health", "sports"]),
        (NAMES, [0, 2, 7, -1], ["farming", "sports"]),
        # Numbers are names where a name is a number.
        (["1", "2", "3", "4", "5"], [0, 1, 2, 5, 6], ["1", "2", "5"]),
        (["1.0", "2.0"], ["0", "1", "1.0"], ["1.0"]),
        (["-1", "0", "1"], [0, 1, 2, -1], ["0", "1", "-1"]),
        (["\u0661", "\u0662"], [0, 1, "\u0661"], ["\u0661"]),
        (["10", "farming"], [0, 1, 10], ["10"]),
        # Numbers that count from 1 are no indices.
        (NAMES, [1, 2, 3], []),
        # One name makes it a column of names.
        (NAMES, [0, 1, "sports"], ["sports"]),
    ],
)  # fmt: skip
def test_a_number_is_an_index_only_where_it_can_be_nothing_else(
    tmp_path: Path,
    names: list[str],
    labels: list[Any],
    stored: list[str],
) -> None:
    record, found = validate(
        tmp_path, {split: [*labels, *labels] for split in SPLITS}, labels=names
    )
    assert record.labels == tuple(names)
    for split in SPLITS:
        assert found[split] == Counter([*stored, *stored])
        profile = record.splits[split]
        assert profile.rows_read == 2 * len(labels) == profile.rows_kept + profile.rows_quarantined


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_read_one_way_in_all_splits(tmp_path: Path, split: str) -> None:
    labels = {each: [0, 1, 2, 0, 1, 2] for each in SPLITS}
    labels[split] = [0, 1, 2, 0, 1, "sports"]
    record, _ = validate(tmp_path, labels, labels=NAMES)
    assert not record.ready
    aside = quarantine(tmp_path, record)
    assert len(aside) == 17
    place = f"{tmp_path / split}.jsonl, line 6"
    assert all(row["reason"] == "unknown label" and place in row["detail"] for row in aside)


def test_without_a_usable_row_of_train_the_other_splits_are_judged_by_their_labels(
    tmp_path: Path,
) -> None:
    labels = {"train": [True, False], "val": ["x", "y"], "test": ["x", "y"]}
    record, _ = validate(tmp_path, labels)
    assert record.quarantine_reasons == {"label of a wrong type": 2}
    assert check_of(record, "schema").message.startswith("100.0 % of train quarantined (label of a")
    assert "train lacks x, y" in check_of(record, "every_label_in_every_split").message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["b", "a", "b"], ("a", "b")), (["10", "2", "-1"], ("-1", "2", "10")), ([], ())],
)
def test_order_of_labels(labels: list[str], expected: tuple[str, ...]) -> None:
    assert label_set(pl.Series(labels, dtype=pl.String)) == expected


@pytest.mark.parametrize(
    ("one", "other", "stored"),
    [
        ("pol\u00edtica", "poli\u0301tica", "pol\u00edtica"),
        ("sports", "sports\u200b", "sports"),
        ("sports", "\ufeffsports\u00ad", "sports"),
        ("local news", " local\u00a0  news", "local news"),
        ("bini'aadam", "bini\u2019aadam", "bini'aadam"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_labels_have_the_normal_form_of_texts(
    tmp_path: Path, one: str, other: str, stored: str, *, listed: bool
) -> None:
    labels = {split: [one, other, "x", "x"] for split in SPLITS}
    record, found = validate(tmp_path, labels, **({"labels": [other, "x"]} if listed else {}))
    assert set(record.labels) == {stored, "x"}
    assert found["test"] == Counter({stored: 2, "x": 2})
    assert not check_of(record, "label_domain").blocks
    assert record.normalised["labels in normal form"] == 3


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("sports", "Sports"),
        ("sports", "sp orts"),
        ("sports", "sp\u043erts"),  # Cyrillic o
        ("SPORT", "S\u03a1ORT"),  # Greek capital rho
        ("IT", "\u0406T"),  # Ukrainian I
        ("TIT", "\u0422\u0406\u0422"),
        ("caf\u00e9", "cafe\u200d\u0301"),  # an invisible joiner keeps it decomposed
        ("18-25", "18\u201325"),
        ("\u06a9\u0648\u0631\u062f", "\u0643\u0648\u0631\u062f"),  # Arabic and Farsi kaf
        ("\uff53ports", "sports"),
        ("heart \u2764", "heart \u2764\ufe0f"),
        ("1", "1.0"),
        ("1", "01"),
    ],
)
@pytest.mark.parametrize("where", ["train", "test", "data.labels"])
def test_labels_that_look_alike_block_and_are_named(
    tmp_path: Path, label: str, other: str, where: str
) -> None:
    labels = {split: [label, label, "x", "x"] for split in SPLITS}
    labels["test" if where == "test" else "train"] += [other, other]
    names = {"labels": [label, "x"]} if where == "data.labels" else {}
    record, _ = validate(tmp_path, labels, **names)
    check = check_of(record, "label_domain")
    assert check.blocks
    first, second = (label, other) if names or where == "test" else sorted((label, other))
    assert f"write `{second}`" in check.message and f"as `{first}`" in check.message
    if where != "train":
        file = "test" if where == "test" else "train"
        assert f"{tmp_path / file}.jsonl, line 5" in check.message


@pytest.mark.parametrize("labels", [[0, 1, "sports"], ["0", "\u0663", "1.5", "sports"]])
def test_numbers_beside_names_block_unless_data_labels_lists_them(
    tmp_path: Path, labels: list[Any]
) -> None:
    given = dict.fromkeys(SPLITS, labels * 2)
    record, found = validate(tmp_path / "auto", given)
    check = check_of(record, "label_domain")
    assert check.blocks and "and names (sports)" in check.message
    names = list(map(str, labels))
    record, listed = validate(tmp_path / "listed", given, labels=names)
    assert check_of(record, "label_domain").outcome == "passed"
    assert found["test"] == listed["test"] == Counter(names * 2)


@pytest.mark.parametrize(
    "labels",
    [
        ["1", "l", "I", "|", "0", "O"],
        ["1", "1.5", "10", "-1", "1.10"],
        ["corn", "com"],
        ["resume", "r\u00e9sum\u00e9"],
        ["\u0628\u06be\u0627\u0626\u06cc", "\u0628\u06c1\u0627\u0626\u06cc"],  # Urdu: two words
        ["\u05d3\u05df", "\u05d3\u05d5"],
        ["\u0432\u0430\u043b", "\u0431\u0430\u043b"],
        ["ka", "\u0199a", "\u025ba", "ea"],
        ["\U0001f600", "\U0001f621"],
        ["m", "rn", "\u00b2", "\u00b3"],
    ],
)
def test_labels_that_differ_do_not_look_alike(labels: list[str]) -> None:
    assert look_alikes(labels) == []


def test_labels_that_data_labels_lists_twice_block(tmp_path: Path) -> None:
    labels = {split: ["pol\u00edtica", "x"] * 2 for split in SPLITS}
    names = ["poli\u0301tica", "pol\u00edtica", "x"]
    check = check_of(validate(tmp_path, labels, labels=names)[0], "label_domain")
    assert check.blocks and "U+0301" not in check.message and "(U+00ED)" in check.message


@pytest.mark.parametrize("label", ["", " ", "\u200b", "\u00a0\u200d", "\ufeff", "\n"])
def test_a_label_that_is_not_seen_is_missing(tmp_path: Path, label: str) -> None:
    labels = {split: ["x", "y", label] * 2 for split in SPLITS}
    record, _ = validate(tmp_path, labels)
    assert record.quarantine_reasons == {"missing label": 6}


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("names", [{}, {"labels": ["a", "b"]}])
def test_a_label_that_train_lacks_blocks(
    tmp_path: Path, split: str, names: dict[str, list[str]]
) -> None:
    labels = {each: ["a", "b"] * 100 for each in SPLITS}
    labels[split] = [*labels[split], "economy"]
    record, _ = validate(tmp_path, labels, **names)
    assert not check_of(record, "schema").blocks
    place = f"{tmp_path / split}.jsonl, line 201"
    for name in ("schema", "every_label_in_every_split"):
        message = check_of(record, name).message
        assert "economy" in message and place in message
    assert check_of(record, "every_label_in_every_split").blocks
    assert not record.ready


@pytest.mark.parametrize(("split", "blocks"), [("train", True), ("val", True), ("test", False)])
def test_checks_are_of_the_rows_without_conflicts(
    tmp_path: Path, split: str, *, blocks: bool
) -> None:
    labels: dict[str, list[Any]] = {each: ["a", "b", "rare"] * 100 for each in SPLITS}
    few = 2 if split == "train" else 1
    labels[split] = ["a", "b"] * 100 + ["rare"] * (few - 1)
    labels[split].append({"text": f"{split} qoraal 0 0a", "label": "rare"})
    record, found = validate(tmp_path, labels, quality={"skip": ["split_drift"]})
    assert (check_of(record, "conflicting_labels").warns, found[split]["rare"]) == (True, few - 1)
    check = check_of(record, "every_label_in_every_split")
    assert (check.warns, check.blocks) == (not blocks, blocks)
    assert record.ready is not blocks
    counts = record.splits[split]
    assert (counts.label_rows["rare"], counts.rows_quarantined) == (few - 1, 2)
    assert check_of(record, "schema").rows == 0


CLASSES = {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}


def write_classes(file: Path, *labels: int, info: object = CLASSES) -> Path:
    texts = [f"{file.name} qoraal {number}" for number in range(len(labels))]
    table = pa.table({"text": texts, "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": info})}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file


@pytest.mark.parametrize(
    ("info", "configured", "stored"),
    [
        (CLASSES, None, ["health", "farming"]),
        (CLASSES, NAMES, ["health", "farming"]),
        (CLASSES, NAMES[:2], ["health", "farming"]),
        (CLASSES, ["news", *NAMES], ["health", "farming"]),
        (CLASSES, ["farming\u200b", "health ", "sports"], ["health", "farming"]),
        ({"features": {"label": {"_type": "Value"}}}, None, ["1", "0", "-1", "3"]),
        ({"features": {"other": CLASSES["features"]["label"]}}, None, ["1", "0", "-1", "3"]),
        ({"features": {"label": {"_type": "ClassLabel"}}}, None, ["1", "0", "-1", "3"]),
        ([], None, ["1", "0", "-1", "3"]),
    ],
)  # fmt: skip
def test_label_names_in_parquet_are_used(
    tmp_path: Path, info: object, configured: list[str] | None, stored: list[str]
) -> None:
    file = write_classes(tmp_path / "a.parquet", 1, 0, -1, 3, info=info)
    rows = read_split("train", (DataFile(str(file), file),), DataConfig(labels=configured))
    assert rows.frame["label"].to_list() == stored
    aside = [(row.line, row.reason) for row in rows.quarantined]
    assert aside == ([] if len(stored) > 2 else [(3, "unknown label"), (4, "unknown label")])


@pytest.mark.parametrize("configured", [["health", "farming", "sports"], ["beero", "caafimaad"]])
def test_label_names_that_contradict_the_config_are_refused(
    tmp_path: Path, configured: list[str]
) -> None:
    file = write_classes(tmp_path / "a.parquet", 1, 0)
    with pytest.raises(DataError, match=r"a\.parquet: its labels are, .*data\.labels lists"):
        read_split("train", (DataFile(str(file), file),), DataConfig(labels=configured))


@pytest.mark.parametrize("named", ["saved", "s*d", "saved/*.arrow"])
def test_a_directory_of_datasets_is_read_with_its_label_names(tmp_path: Path, named: str) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    rows = {"text": ["koow", "laba", "saddex", "afar"], "label": [2, 0, 1, -1]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved", num_shards=2)
    given = {"train_path": named, "val_path": "val.jsonl", "test_path": "test.jsonl"}
    config = LoadedConfig(settings=Config.model_validate({"data": given}), directory=tmp_path)
    files = [Path(source.location) for source in split_sources(config, "train")]
    assert [file.name[:10] for file in files] == ["data-00000", "data-00001"]
    data = [DataFile(str(file), file) for file in files]
    read = read_split("train", data, config.settings.data)
    assert read.frame["label"].to_list() == ["sports", "farming", "health"]
    assert [(row.line, row.reason) for row in read.quarantined] == [(2, "unknown label")]


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"_data_files": [{}]}', b"\xff"])
def test_another_directory_is_no_data_file(tmp_path: Path, state: bytes) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_bytes(state)
    given = {"train_path": "saved", "val_path": "val.jsonl", "test_path": "test.jsonl"}
    config = LoadedConfig(settings=Config.model_validate({"data": given}), directory=tmp_path)
    with pytest.raises(DataError, match="saved: not a regular file"):
        source_paths(config)


@pytest.mark.parametrize("write", [pl.DataFrame.write_ipc, pl.DataFrame.write_ipc_stream])
def test_arrow_files_and_streams_of_one_batch(tmp_path: Path, write: Any) -> None:
    file = tmp_path / "a.arrow"
    texts = [f"qoraal {number}" for number in range(2500)]
    write(pl.DataFrame({"text": texts, "label": "x", "more": 1}), file)
    read = read_split("train", (DataFile(str(file), file),), DataConfig())
    assert read.frame["text"].to_list() == texts
    assert read.frame["line"].to_list() == list(range(1, 2501))


def test_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.arrow"
    for content in (b"", b"ARROW1\0\0", b"\xff\xff\xff\xff\0\0", b"text,label\n"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.arrow: not an Arrow file"):
            read_split("train", (DataFile(str(file), file),), DataConfig())
