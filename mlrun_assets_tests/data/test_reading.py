from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlrun_assets.config import DataConfig
from mlrun_assets.data.formats import BATCH_BYTES
from mlrun_assets.data.other_rows import read_whole_rows
from mlrun_assets.data.reading import DataFile, SplitRows, enforce_schema, read_split
from mlrun_assets.data.rows import QuarantinedRowError
from mlrun_assets.production.prediction import text_rows

GOOD = {"id": "a", "text": "Waa tijaabo kale", "label": "x"}


def read(path: Path, **data: Any) -> SplitRows:
    return read_split("train", (DataFile(str(path), path),), DataConfig(**data))


def lines(path: Path, *rows: object) -> Path:
    content = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(content) + b"\n")
    return path


def test_columns_are_mapped_and_joined_headline_first(tmp_path: Path) -> None:
    row = {"k": 7, "headline": "Cinwaan", "body": "Qoraal", "topic": 2, "who": "w", "src": None}
    rows = read(
        lines(tmp_path / "a.jsonl", row),
        text_columns=("headline", "body"),
        label_column="topic",
        id_column="k",
        group_column="who",
        slice_columns=("src",),
    )
    assert rows.frame.row(0, named=True) == {
        "id": "7",
        "text": "Cinwaan\nQoraal",
        "label": "2",
        "line": 1,
        "file": str(tmp_path / "a.jsonl"),
        "extra_who": "w",
        "extra_src": None,
    }


def test_the_line_is_the_id_where_there_is_none(tmp_path: Path) -> None:
    row = {"text": "a", "label": "x"}
    assert read(lines(tmp_path / "a.jsonl", row, b"", row)).frame["id"].to_list() == [
        "train-1",
        "train-3",
    ]


def test_the_ids_of_each_file_are_its_own(tmp_path: Path) -> None:
    ids = [["0", "1"], ["0", "0", "2"], ["a"], ["a", "1"]]
    files = [
        lines(tmp_path / f"{number}.jsonl", *({**GOOD, "id": each} for each in of_file))
        for number, of_file in enumerate(ids)
    ]
    named = tuple(DataFile(str(path), path) for path in files)
    rows = enforce_schema(read_split("train", named, DataConfig()), ("x",))
    assert rows.frame["id"].to_list() == [
        "0", "1", "train-2:0", "train-2:2", "a", "train-4:a", "train-4:1"
    ]  # fmt: skip
    (bad,) = rows.quarantined
    assert (bad.file, bad.line, bad.reason) == (str(files[1]), 2, "id seen before")
    assert "data.id_column" in bad.detail


def test_without_an_id_column_the_line_is_the_id(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD, GOOD)
    assert read(path, id_column=False).frame["id"].to_list() == ["train-1", "train-2"]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".json"])
def test_null_in_one_of_several_columns_is_empty(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"a": ["Waa", None, "", None], "b": [None, "kow", "laba", None]})
    path = tmp_path / f"a{ending}"
    frame = frame.with_columns(label=pl.lit("x"))
    write = {".jsonl": frame.write_ndjson, ".csv": frame.write_csv, ".json": frame.write_json}
    write.get(ending, frame.write_parquet)(path)
    config = {"text_columns": ("a", "b")}
    rows = enforce_schema(read(path, **config), ("x",))
    assert rows.frame["text"].to_list() == ["Waa", "kow", "laba"]
    assert [(bad.line, bad.reason.split()[1]) for bad in rows.quarantined] == [
        (5 if ending == ".csv" else 4, "text")
    ]
    predicted = text_rows(
        read_whole_rows(DataFile(path.name, path), DataConfig(**config)), "a", DataConfig(**config)
    )
    assert [row.text for row in predicted if row] == ["Waa", "kow", "laba", ""]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables(tmp_path: Path, suffix: str, delimiter: str) -> None:
    path = tmp_path / f"a{suffix}"
    table = [["id", "text", "label"], ["1", '"Haa, waa run\nlaba sadar"', "x"], ["2", "b"]]
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(delimiter.join(row) for row in table).encode() + b"\r\n"
    )
    rows = read(path)
    assert rows.frame["text"].to_list() == ["Haa, waa run\nlaba sadar"]
    assert [row.reason for row in rows.quarantined] == ["wrong number of columns"]
    assert next(iter(rows.quarantined)).line == 4


def test_of_a_parquet_file_of_one_large_group_only_some_rows_are_in_memory(tmp_path: Path) -> None:
    import pyarrow as pa

    rows, each = 3200, 20_000
    blobs = np.random.default_rng(1).bytes(rows * each)
    frame = pl.DataFrame(
        {
            "text": [f"waa {number}" for number in range(rows)],
            "picture": [blobs[each * number : each * (number + 1)] for number in range(rows)],
        }
    )
    path = tmp_path / "a.parquet"
    frame.write_parquet(path, row_group_size=rows)
    held, most = pa.total_allocated_bytes(), 0
    for number, row in enumerate(read_whole_rows(DataFile("a.parquet", path), DataConfig())):
        most = max(most, pa.total_allocated_bytes() - held)
        assert not isinstance(row.row, QuarantinedRowError)
        assert (row.line, row.row["text"]) == (number + 1, f"waa {number}")
        assert each <= row.size < 1.1 * each
    assert number == rows - 1
    assert most < 3 * BATCH_BYTES < frame.estimated_size() / 2
