"""Whatever a file holds: read, its bad rows quarantined, or refused in one message."""

from __future__ import annotations

import gzip
import json
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrun_assets.config import Config, LoadedConfig
from mlrun_assets.data import reading as splits
from mlrun_assets.data.reading import DataFile, SplitRows, enforce_schema, read_split
from mlrun_assets.data.rows import row_values
from mlrun_assets.data.sources import source_paths
from mlrun_assets.data.validation import validate_dataset
from mlrun_assets.errors import DataError
from mlrun_assets_tests.data.nasty_files import (
    CORPUS,
    GOOD_JSON,
    PARQUET,
    REFUSED,
    TABLES,
    Nasty,
    row,
    zstd,
)
from mlrun_assets_tests.examples import count_words, write_rows

LABELS = ("x", "y")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """An alarm, since a reader that waits for ever would stop all tests."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(300)
    yield
    signal.alarm(0)


def read(path: Path, **data: Any) -> SplitRows:
    config = Config.model_validate({"data": data}).data
    rows = enforce_schema(read_split("train", (DataFile(str(path), path),), config), LABELS)
    assert rows.rows_read == rows.frame.height + len(rows.quarantined)
    assert sum(file.rows_read for file in rows.files) == rows.rows_read
    for bad in rows.quarantined:
        assert bad.reason and bad.detail and bad.line >= 1 and bad.file == str(path)
        assert len(bad.detail) < 1000 and len(bad.raw) <= 500
        orjson.dumps([bad.reason, bad.detail, bad.raw])
    return rows


def refused_or_read(path: Path) -> SplitRows | None:
    """Reading it keeps the books, or says why it can't."""
    try:
        return read(path)
    except DataError as error:
        message = str(error)
        assert path.name in message and "\n" not in message and len(message) < 1000
        return None


@pytest.mark.parametrize(
    ("ending", "nasty"), CORPUS, ids=[f"{nasty.name}{ending}" for ending, nasty in CORPUS]
)
def test_every_file_is_read_quarantined_or_refused(
    tmp_path: Path, ending: str, nasty: Nasty
) -> None:
    path = tmp_path / f"nasty{ending}"
    path.write_bytes(nasty.content)
    rows = refused_or_read(path)
    if rows is None:
        assert nasty.outcome is REFUSED
    else:
        assert (rows.frame.height, len(rows.quarantined)) == nasty.outcome, [*rows.quarantined][:3]
        if nasty.reason:
            line = 3 if ending == ".csv" else 2
            assert [(bad.line, bad.reason) for bad in rows.quarantined] == [(line, nasty.reason)]


@pytest.mark.parametrize(
    "name",
    ["NUL escape", "thousand marks", "huge digits as label", "minus minus label", "empty",
     "id seen before", "a web page", "one long word", "NUL in a value", "unclosed quote",
     "list as text"],
)  # fmt: skip
def test_the_whole_stage_takes_what_reading_lets_through(tmp_path: Path, name: str) -> None:
    ending, nasty = next(case for case in CORPUS if case[1].name == name)
    path = tmp_path / f"train{ending}"
    path.write_bytes(nasty.content)
    rows = [{"text": f"Waa qoraal {number}", "label": LABELS[number % 2]} for number in range(9)]
    paths = {"train_path": str(path)}
    for split in ("val", "test"):
        paths[f"{split}_path"] = str(write_rows(tmp_path / f"{split}.jsonl", rows))
    config = Config.model_validate({"data": paths})
    loaded = LoadedConfig(settings=config, directory=tmp_path)
    record = validate_dataset(loaded, tmp_path / "out", count_words)
    train = record.splits["train"]
    assert train.rows_read == train.rows_kept + train.rows_quarantined
    aside = (tmp_path / "out" / record.quarantine_file).read_text(encoding="utf-8").splitlines()
    assert len(aside) == sum(split.rows_quarantined for split in record.splits.values())
    assert all(json.loads(line)["file"] for line in aside)
    assert not record.ready


# --- files that are no files ------------------------------------------------------------------


def refusal(directory: Path, **paths: Any) -> str:
    for split in ("train", "val", "test"):
        (directory / f"good-{split}.jsonl").write_bytes(GOOD_JSON)
        paths.setdefault(f"{split}_path", f"good-{split}.jsonl")
    config = Config.model_validate({"data": paths})
    with pytest.raises(DataError) as caught:
        source_paths(LoadedConfig(settings=config, directory=directory))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_directories_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("d.jsonl", "pipe.jsonl", "zero.jsonl"):
        assert f"{name}: not a regular file" in refusal(tmp_path, train_path=name)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "gone.jsonl").symlink_to("absent")
    message = refusal(tmp_path, train_path="loop.jsonl", val_path="gone.jsonl")
    assert "loop.jsonl: can't be read: Too many levels of symbolic links" in message
    assert "gone.jsonl: no such file" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(GOOD_JSON)
    (tmp_path / "secret.jsonl").chmod(0)
    message = refusal(tmp_path, train_path="secret.jsonl")
    assert "secret.jsonl: can't be read: Permission denied" in message


@pytest.mark.parametrize("name", ["\0.jsonl", "x" * 5000 + ".jsonl", "~nobody-here/a.jsonl"])
def test_names_that_are_no_paths(tmp_path: Path, name: str) -> None:
    assert "data.train_path" in refusal(tmp_path, train_path=name)


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grows.jsonl"
    path.write_bytes(GOOD_JSON)
    unchanged = row_values

    def and_grow(*arguments: Any) -> dict[str, Any]:
        with path.open("ab") as file:
            file.write(row() + b"\n")
        return unchanged(*arguments)

    monkeypatch.setattr(splits, "row_values", and_grow)
    with pytest.raises(DataError, match=r"grows\.jsonl: was written to while it was read"):
        read(path)


WAA = "waa " * 100_000
ROWS = {
    ".jsonl": [row(), row(text=WAA), row(), b'{"text": "' + WAA.encode(), row()],
    ".json": [row(), row(text=WAA), row(), row(text=WAA), row()],
    ".csv": [b"text,label", b"Waa,x", f"{WAA},x".encode(), b"Waa,y", f"{WAA},x".encode(), b"Waa,x"],
    ".tsv": [b"text\tlabel", b"Waa\tx", f'"Haa {WAA}"\tx'.encode(), b"Waa\ty", b"W\tx"],
}


@pytest.mark.parametrize("ending", ROWS)
@pytest.mark.parametrize("limits", [{"max_row_mb": 0.1}, {"max_text_characters": 100_000}])
def test_rows_above_a_limit(tmp_path: Path, ending: str, limits: dict[str, Any]) -> None:
    path = tmp_path / f"long{ending}"
    content = b"\n".join(ROWS[ending])
    path.write_bytes(b"[" + content.replace(b"\n", b",") + b"]" if ending == ".json" else content)
    rows = read(path, **limits)
    reasons = {bad.reason for bad in rows.quarantined}
    assert rows.frame.height == 3
    assert reasons & {"row too long", "text too long"} and reasons <= {
        "row too long", "text too long", "not JSON", "wrong number of columns"
    }  # fmt: skip
    assert next(iter(rows.quarantined)).line == (2 if "json" in ending else 3)


def test_a_file_with_too_many_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([row()] * 3 + [b"{"]))
    assert read(path, max_rows=3).rows_read == 4
    with pytest.raises(DataError, match=r"rows\.jsonl: more than 2 rows; .* data\.max_rows$"):
        read(path, max_rows=2)


@pytest.mark.parametrize("pack", [partial(gzip.compress, mtime=0), zstd])
def test_content_is_expanded_piece_by_piece(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bomb.jsonl"
    path.write_bytes(pack(row() + b"\n" + b"a" * 200_000_000))
    with pytest.raises(DataError, match=r"more than 100 MB; .* data\.max_file_mb"):
        read(path, max_file_mb=100.0)
    tracemalloc.start()
    rows = read(path, max_row_mb=1.0)
    assert tracemalloc.get_traced_memory()[1] < 130_000_000
    tracemalloc.stop()
    assert (rows.frame.height, next(iter(rows.quarantined)).reason) == (1, "row too long")


# --- generated ----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(st.sampled_from(["id", "text", "label", "other"]), VALUES, max_size=4)
LINES = st.one_of(
    st.binary(max_size=60),
    OBJECTS.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([row(), row(label="y"), b"", b'"', b'"Waa,x', b"Waa,x", b"Waa\tx"]),
    st.lists(st.text(max_size=9), min_size=1, max_size=3).map(
        lambda values: ",".join(values).encode()
    ),
)
PACKINGS = st.sampled_from([bytes, partial(gzip.compress, mtime=0), zstd])
HEADERS = {".csv": [b"text,label\n", b""], ".tsv": [b"text\tlabel\n"], ".jsonl": [b""]}
ANY_TEMPORARY = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@ANY_TEMPORARY
@given(st.data(), st.sampled_from(sorted(HEADERS)), st.lists(LINES, max_size=12))
def test_any_lines(tmp_path: Path, data: st.DataObject, ending: str, content: list[bytes]) -> None:
    path = tmp_path / f"nasty{ending}"
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    header = data.draw(st.sampled_from(HEADERS[ending]))
    path.write_bytes(data.draw(PACKINGS)(header + end.join(content)))
    refused_or_read(path)


@ANY_TEMPORARY
@given(
    st.sampled_from([*PARQUET, *TABLES]).filter(lambda nasty: len(nasty.content) < 50_000),
    PACKINGS,
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4),
    st.integers(0, 60),
)
def test_any_damage(
    tmp_path: Path, nasty: Nasty, pack: Any, flips: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(pack(nasty.content))
    for place, value in flips:
        if content:
            content[place % len(content)] = value
    for ending in (".parquet", ".csv", ".jsonl"):
        path = tmp_path / f"nasty{ending}"
        path.write_bytes(bytes(content[: len(content) - cut]))
        refused_or_read(path)
