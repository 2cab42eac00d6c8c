"""Rows of no split: helper rows, texts that may be labelled next, and the lines of a pipe."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.config import DataConfig
from mlrun_assets.data import other_rows
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.other_rows import (
    keep_helper_rows,
    keep_unlabelled,
    pipe_lines,
    read_helper_rows,
    read_unlabelled,
    stored_helper_rows,
)
from mlrun_assets.data.reading import DataFile
from mlrun_assets.errors import DataError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets_tests.examples import dataset_record, split_of, write_rows


def words(name: str, count: int = 40) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


VAL, TEST, SHORT = words("v", 300), words("t"), words("s", 6)


@pytest.fixture
def dataset() -> Dataset:
    data = DataConfig()
    texts = {"train": [words("a")], "val": [VAL], "test": [TEST, SHORT]}
    splits = {name: split_of(name, each, data) for name, each in texts.items()}
    return Dataset(splits, ("a", "b"), None, 128, data)


def files(directory: Path, *texts: object) -> tuple[DataFile, ...]:
    path = write_rows(directory / "texts.jsonl", [{"text": text} for text in texts])
    return (DataFile("texts.jsonl", path),)


def test_what_is_known_or_of_no_use_is_left_out_and_counted(
    tmp_path: Path, dataset: Dataset
) -> None:
    kept = [words("n"), f"“{words('m')}”", f"{words('k')} {' '.join(VAL.split()[:20])}"]
    left_out = {
        "can't be read": [None, 7],
        "empty": ["  "],
        "repeated": [words("n").upper()],
        "also in train": [words("a")],
        "known from val or test": [
            TEST,
            f"{TEST} dheeraad",
            f"{words('x')} {SHORT} {words('y')}",
            f"{words('z')} {' '.join(VAL.split()[100:150])}",
        ],
    }
    every = [*kept, *(text for texts in left_out.values() for text in texts)]
    rows = read_unlabelled(files(tmp_path, *every), DataConfig())
    record = keep_unlabelled(rows, dataset, tmp_path)
    assert record.left_out == {reason: len(texts) for reason, texts in left_out.items()}
    assert (record.rows_read, record.rows_kept) == (len(every), len(kept))
    written = pl.read_parquet(ExperimentPaths(tmp_path).unlabelled)
    assert written.columns == ["id", "text", "file", "line"]
    assert written["text"].to_list() == kept
    assert written["line"].to_list() == [1, 2, 3]
    again = keep_unlabelled(
        read_unlabelled(files(tmp_path, *kept), DataConfig()), dataset, tmp_path / "other"
    )
    assert again.digest == record.digest


def labelled(directory: Path, *rows: tuple[object, object]) -> tuple[DataFile, ...]:
    path = write_rows(
        directory / "en.jsonl", [{"text": text, "label": label} for text, label in rows]
    )
    return (DataFile("en.jsonl", path),)


def test_helper_rows_that_are_known_from_a_split_are_left_out_and_counted(
    tmp_path: Path, dataset: Dataset
) -> None:
    known = [
        words("a"),
        VAL,
        TEST,
        f"{TEST} dheeraad",
        f"{words('x')} {' '.join(VAL.split()[9:60])}",
    ]
    rows = [(words("n"), "b"), (words("n"), "b"), (None, "a"), *((text, "a") for text in known)]
    read = read_helper_rows(labelled(tmp_path, *rows), DataConfig(), ("a", "b"))
    record = keep_helper_rows(read, dataset, tmp_path)
    assert record.left_out == {
        "can't be read": 1,
        "repeated": 1,
        "known from train, val or test": len(known),
    }
    assert record.label_rows == {"a": 0, "b": 1}
    record_of = dataset_record({"a": 2, "b": 2}).model_copy(update={"auxiliary": record})
    texts, truth = stored_helper_rows(tmp_path, record_of)
    assert (texts, truth.tolist()) == ([words("n")], [1])
    other = read_helper_rows(labelled(tmp_path, (words("n"), "a")), DataConfig(), ("a", "b"))
    assert keep_helper_rows(other, dataset, tmp_path).digest != record.digest


def test_helper_rows_of_other_labels_are_refused_with_their_place(tmp_path: Path) -> None:
    rows = [("one two", "a"), ("three four", "c"), ("five six", "d")]
    with pytest.raises(DataError, match=r"line 2: `c` is not .* \(a, b\); 2 helper rows"):
        read_helper_rows(labelled(tmp_path, *rows), DataConfig(), ("a", "b"))


def test_labels_of_helper_rows_may_be_indices_of_the_configured_labels(tmp_path: Path) -> None:
    files = labelled(tmp_path, ("one two", 1), ("three four", 0))
    read = read_helper_rows(files, DataConfig(labels=("b", "a")), ("b", "a"))
    assert read.frame["label"].to_list() == ["a", "b"]
    with pytest.raises(DataError, match=r"line 1: `1` is not a label"):
        read_helper_rows(files, DataConfig(), ("a", "b"))


def test_helper_rows_that_are_all_known_are_an_error(tmp_path: Path, dataset: Dataset) -> None:
    read = read_helper_rows(labelled(tmp_path, (TEST, "a")), DataConfig(), ("a", "b"))
    with pytest.raises(DataError, match=r"data\.auxiliary_path: en\.jsonl: none of 1 text is left"):
        keep_helper_rows(read, dataset, tmp_path)


def test_only_the_columns_of_the_text_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("body,headline\nwaa warkii, Cinwaan\n", encoding="utf-8")
    data = DataConfig(
        text_columns=("headline", "body"), id_column="no", group_column="no", slice_columns=("no",)
    )
    rows = read_unlabelled((DataFile("texts.csv", path),), data)
    assert rows.frame["text"].to_list() == ["Cinwaan waa warkii"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], r"texts\.jsonl: no row can be used \(there is none\)"),
        ([None], r"the first: `text` is null.*correct data\.unlabelled_path"),
        ([TEST, TEST], r"none of 2 texts .*repeated: 1, known from val or test: 1\)"),
    ],
)
def test_nothing_to_learn_from_is_one_clear_error(
    tmp_path: Path, dataset: Dataset, texts: list[object], message: str
) -> None:
    with pytest.raises(DataError, match=rf"^data\.unlabelled_path: .*{message}"):
        keep_unlabelled(read_unlabelled(files(tmp_path, *texts), DataConfig()), dataset, tmp_path)


def test_another_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("body\nwaa warkii\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"texts\.csv: no column `text`; it has `body`"):
        read_unlabelled((DataFile("texts.csv", path),), DataConfig())


# Reading a pipe


@given(st.lists(st.binary(max_size=200), max_size=20).map(b"\n".join), st.integers(1, 9))
def test_lines_are_those_of_a_file_however_they_are_cut(content: bytes, size: int) -> None:
    reader, writer = os.pipe()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]

    def write() -> None:
        with open(writer, "wb", buffering=0) as pipe:  # noqa: PTH123  a descriptor
            pipe.writelines(pieces)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, "rb") as pipe:  # noqa: PTH123  a descriptor
        found = list(pipe_lines(pipe, 1000))
    thread.join()
    expected = [line.removesuffix(b"\n") for line in io.BytesIO(content)]
    assert [line for line in found if line] == [line for line in expected if line]


def test_a_file_lets_no_one_wait(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"line\n" * 100_000)
    with (tmp_path / "rows").open("rb") as file:
        assert list(pipe_lines(file, 1000)) == [b"line"] * 100_000 + [b""]


def test_rows_that_trickle_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row takes longer than the patience, but all rows together do."""
    now, arrivals = 0.0, iter([b"a\n", b"b\n", b"c", b"\n", b"d\n", b""])

    class Clock:
        def register(self, descriptor: int, events: int) -> None: ...

        def poll(self, milliseconds: float) -> bool:
            nonlocal now
            now += 0.4
            return True

    monkeypatch.setattr(other_rows.select, "poll", Clock)
    monkeypatch.setattr(other_rows.time, "monotonic", lambda: now)
    monkeypatch.setattr(other_rows.os, "read", lambda descriptor, size: next(arrivals))

    def received() -> Iterator[bytes | None]:
        with Path(os.devnull).open("rb") as file:
            yield from pipe_lines(file, 1000)

    assert list(received()) == [b"a", b"b", None, b"c", b"d", None, b""]
