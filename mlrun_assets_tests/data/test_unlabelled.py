"""Rows without labels: the texts that may be labelled next, and the lines of a pipe."""

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
from mlrun_assets.data import unlabelled
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.reading import DataFile
from mlrun_assets.data.unlabelled import keep_unlabelled, pipe_lines, read_unlabelled
from mlrun_assets.errors import DataError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets_tests.examples import split_of, write_rows


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

    monkeypatch.setattr(unlabelled.select, "poll", Clock)
    monkeypatch.setattr(unlabelled.time, "monotonic", lambda: now)
    monkeypatch.setattr(unlabelled.os, "read", lambda descriptor, size: next(arrivals))

    def received() -> Iterator[bytes | None]:
        with Path(os.devnull).open("rb") as file:
            yield from pipe_lines(file, 1000)

    assert list(received()) == [b"a", b"b", None, b"c", b"d", None, b""]
