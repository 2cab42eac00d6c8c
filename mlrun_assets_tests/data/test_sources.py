"""From the config to the files that are read: lists, patterns, URLs, and the names they get."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from mlrun_assets.config import Config, LoadedConfig
from mlrun_assets.data.reading import SplitRows, enforce_schema, read_split
from mlrun_assets.data.sources import (
    digest_sources,
    fetch_sources,
    join_digests,
    source_paths,
    split_sources,
)
from mlrun_assets.errors import DataError, public_name
from mlrun_assets.files import digest_file
from mlrun_assets_tests.examples import write_rows


def rows(*texts: str) -> list[dict[str, str]]:
    return [{"text": text, "label": "x"} for text in texts]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the characters of patterns in its name."""
    tmp_path = tmp_path / "a [b] *?"
    for name in ("a", "b2", "b1", "val", "test"):
        write_rows(tmp_path / f"{name}.jsonl", rows(f"Waa {name}", f"Waa {name} kale"))
    return tmp_path


def loaded(home: Path, **data: Any) -> LoadedConfig:
    paths = {"train_path": "a.jsonl", "val_path": "val.jsonl", "test_path": "test.jsonl"}
    return LoadedConfig(
        settings=Config.model_validate({"data": {**paths, **data}}), directory=home, file=None
    )


def read_train(config: LoadedConfig, directory: Path) -> SplitRows:
    files = fetch_sources(source_paths(config), directory)
    return read_split("train", files["train"], config.settings.data)


def test_a_list_of_files_and_patterns_is_read_in_order(home: Path) -> None:
    with (home / "b1.jsonl").open("a") as file:
        file.write("{\n")
    config = loaded(home, train_path=["a.jsonl", "b*.jsonl"])
    read = enforce_schema(read_train(config, home / "fetched"), ("x",))
    assert read.source == ", ".join(str(home / f"{name}.jsonl") for name in ("a", "b1", "b2"))
    assert read.rows_read == 7
    assert read.frame["text"].to_list()[:3] == ["Waa a", "Waa a kale", "Waa b1"]
    assert read.frame["file"].to_list()[2] == str(home / "b1.jsonl")
    assert [file.rows_read for file in read.files] == [2, 3, 2]
    assert [(Path(bad.file).name, bad.line, bad.reason) for bad in read.quarantined] == [
        ("b1.jsonl", 3, "not JSON"),
    ]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (["b*.jsonl", "b1.jsonl"], ["b1.jsonl", "b2.jsonl"]),  # read once
        (["deep/**/*.jsonl", "d[1].jsonl"], ["c.jsonl", "d[1].jsonl"]),  # no pattern if it exists
        (["[D] ?*/e-[12].jsonl"], ["e-1.jsonl", "e-2.jsonl"]),
    ],
)
def test_patterns(home: Path, named: list[str], found: list[str]) -> None:
    write_rows(home / "deep" / "er" / "c.jsonl", rows("Waa c"))
    write_rows(home / "d[1].jsonl", rows("Waa d"))
    for number in range(1, 4):
        write_rows(home / "[D] ?*" / f"e-{number}.jsonl", rows(f"Waa e {number}"))
    train = split_sources(loaded(home, train_path=named), "train")
    assert [Path(source.location).name for source in train] == found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train_path": "c*.jsonl"}, "data.train_path: the pattern `c*.jsonl` matches no file"),
        ({"train_path": "*.jsonl"}, "val.jsonl is also in data.train_path: split the rows"),
        ({"train_path": "link.jsonl"}, "val.jsonl is also in data.train_path"),
        ({"train_path": "absent.jsonl"}, "absent.jsonl: no such file"),
        ({"train_path": "a*.jsonl/b.jsonl"}, "matches no file"),
        ({"train_path": "x.docx"}, "x.docx: unknown format; use one of .jsonl"),
        ({"train_path": "https://127.0.0.1/x.docx"}, "x.docx: unknown format"),
        ({"train_path": "c*.jsonl", "val_path": "absent.jsonl"}, "; data.val_path: "),
    ],
)
def test_what_can_not_be_read_is_named(home: Path, data: dict[str, Any], message: str) -> None:
    (home / "link.jsonl").symlink_to("val.jsonl")
    (home / "x.docx").write_text("x")
    with pytest.raises(DataError) as caught:
        source_paths(loaded(home, **data))
    assert message in str(caught.value)


def test_the_digest_of_a_file_is_its_own_and_of_several_a_joint_one(home: Path) -> None:
    one = split_sources(loaded(home), "train")
    several = split_sources(loaded(home, train_path=["a.jsonl", "b1.jsonl"]), "train")
    own = [digest_file(home / name) for name in ("a.jsonl", "b1.jsonl")]
    assert digest_sources(one) == own[0]
    assert digest_sources(several) == join_digests(own) != join_digests(own[::-1])
    (home / "a.jsonl").unlink()
    assert digest_sources(one) is None
    assert digest_sources(split_sources(loaded(home, train_path="memory://a"), "train")) is None


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".jsonl.gz", ".parquet"])
def test_formats_mix_within_a_split(home: Path, ending: str) -> None:
    frame = pl.DataFrame(rows("Haa, waa", "Waa\nlaba"))
    path = home / f"more{ending}"
    if ending == ".parquet":
        frame.write_parquet(path)
    elif ending.startswith(".jsonl"):
        content = frame.write_ndjson().encode()
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    else:
        frame.write_csv(path, separator="," if ending == ".csv" else "\t")
    read = read_train(loaded(home, train_path=["a.jsonl", path.name]), home)
    assert read.frame["text"].to_list()[2:] == ["Haa, waa", "Waa\nlaba"]


# --- URLs ---------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; `/secret` is forbidden and `/short` ends before it should."""

    def do_GET(self) -> None:
        if self.path.startswith("/secret"):
            self.send_error(403)
        elif self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"text": "Waa", ')
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(home: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(home))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_url_is_fetched_once(home: Path, server: str, tmp_path: Path) -> None:
    (home / "t.jsonl.gz").write_bytes(gzip.compress((home / "a.jsonl").read_bytes()))
    config = loaded(home, train_path=[f"{server}/t.jsonl.gz?token=hush", "b1.jsonl"])
    first = read_train(config, tmp_path / "fetched")
    assert first.rows_read == 4
    assert first.files[0].name == f"{server}/t.jsonl.gz"
    assert first.files[0].digest == digest_file(home / "t.jsonl.gz")
    (home / "t.jsonl.gz").unlink()
    assert read_train(config, tmp_path / "fetched").files == first.files
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["train-1.jsonl.gz"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("absent.jsonl", "no such file there"),
        ("secret.jsonl", "the server answers 403"),
        ("short.jsonl", "ClientPayloadError"),
    ],
)
def test_a_url_that_gives_no_file_is_one_message(
    home: Path, server: str, tmp_path: Path, path: str, why: str
) -> None:
    url = f"{server.replace('//', '//someone:hush@')}/{path}?key=hush"
    with pytest.raises(DataError) as caught:
        read_train(loaded(home, train_path=url), tmp_path / "fetched")
    message = str(caught.value)
    assert f"{server}/{path}: can't be fetched: {why}" in message
    assert "hush" not in message and "someone" not in message
    assert list((tmp_path / "fetched").iterdir()) == []


def test_other_file_systems_and_their_patterns(home: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("m2", "m1"):
        memory.pipe(f"/rows/{name}.jsonl", (home / "a.jsonl").read_bytes())
    config = loaded(home, train_path="memory://rows/m*.jsonl")
    read = read_train(config, tmp_path / "fetched")
    assert [file.name.rpartition("/")[2] for file in read.files] == ["m1.jsonl", "m2.jsonl"]
    assert read.rows_read == 4
    with pytest.raises(DataError, match=r"the pattern `memory://none/\*\.jsonl` matches no file"):
        source_paths(loaded(home, train_path="memory://none/*.jsonl"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.jsonl", "nothing://x/a.jsonl", "s3:///a.jsonl", "hf://x/a.jsonl"]
)
def test_urls_that_nothing_here_can_read(home: Path, tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=rf"^{url}: can't be fetched: "):
        read_train(loaded(home, train_path=url), tmp_path / "fetched")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://u:p@h/a.jsonl?token=t#f", "https://h/a.jsonl"),
        ("s3://bucket/a@b.jsonl", "s3://bucket/a@b.jsonl"),
        ("https://h?x=@y", "https://h"),
    ],
)
def test_public_names(url: str, name: str) -> None:
    assert public_name(url) == name
