"""`init` and `split`: from one file of rows to a project whose data passes the checks."""

from __future__ import annotations

import csv
import json
import os
import random
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.config import load_config
from mlrun_assets.data import splitting
from mlrun_assets.data.validation import validate_dataset
from mlrun_assets.errors import FileBusyError
from mlrun_assets.files import locked, name_beside
from mlrun_assets.records import SPLITS
from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.examples import ROOT, SAMPLE, sample_rows

Call = Callable[..., Called]


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    rows = [row for split in SPLITS for row in sample_rows(split)]
    random.Random(0).shuffle(rows)
    file = tmp_path / "my rows.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened, delimiter=";")
        table.writerow(["sentence", "topic", "author"])
        table.writerows(
            [row["text"], row["label"], f"writer {n % 200}"] for n, row in enumerate(rows)
        )
    return file


def contents(directory: Path) -> dict[str, bytes]:
    return {
        file.relative_to(directory).as_posix(): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_from_one_file_to_a_project_that_is_ready(
    tmp_path: Path, rows_file: Path, call: Call
) -> None:
    begun = call("init", "my", "--from", rows_file.name, cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    assert "`sentence`" in begun.stdout and "cd my" in begun.stdout
    home = tmp_path / "my"
    (step,) = [line for line in begun.stdout.splitlines() if "split" in line and "assets" in line]
    assert step.endswith("split '../my rows.csv'")
    done = call("split", "../my rows.csv", cwd=home)
    assert done.returncode == 0, done.stderr
    assert sorted(contents(home)) == [*sorted(f"data/{name}.jsonl" for name in SPLITS),
                                      "ml_config.yaml"]  # fmt: skip
    config = load_config(home / "ml_config.yaml")
    assert config.settings.data.group_column == "author"
    assert validate_dataset(config, tmp_path / "checked", None).ready

    before = contents(home)
    again = call("split", "../my rows.csv", cwd=home)
    assert again.returncode == 2 and "exists already" in again.stderr
    assert contents(home) == before
    other = call("split", "../my rows.csv", "--output", "new", cwd=home)
    assert other.returncode == 0
    assert (home / "new/val.jsonl").read_bytes() == before["data/val.jsonl"]

    with rows_file.open("a", encoding="utf-8") as file:
        file.write("Qoraal cusub oo ku saabsan kubadda cagta;sports;somebody new\n")
    added = call("split", "../my rows.csv", "--add", cwd=home)
    assert added.returncode == 0, added.stderr
    assert "1 row added" in added.stdout
    after = contents(home)
    assert all(after[name].startswith(content) for name, content in before.items())
    assert after["data/left_out.jsonl"].count(b"\n") == 625


def test_a_spreadsheet_in_windows_1252_becomes_splits_in_utf8(
    tmp_path: Path, rows_file: Path, call: Call
) -> None:
    content = rows_file.read_text("utf-8").replace("sports", "sport d\u2019été")
    rows_file.write_bytes(content.encode("cp1252"))
    begun = call("init", "my", "--from", rows_file.name, cwd=tmp_path)
    assert "read as Windows-1252" in begun.stdout and "sport d\u2019été 207" in begun.stdout
    done = call("split", "../my rows.csv", cwd=tmp_path / "my")
    assert "625 rows read as Windows-1252" in done.stderr
    assert '"sport d\u2019été"' in (tmp_path / "my/data/train.jsonl").read_text("utf-8")


def test_labels_that_can_not_be_split_are_named_at_once(tmp_path: Path, call: Call) -> None:
    labels = ["farming"] * 3 + ["health"] * 2 + ["sports"]
    lines = [f"Qoraal kale oo ku saabsan {n},{label}" for n, label in enumerate(labels)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]), "utf-8")
    begun = call("init", "--from", "rows.csv", cwd=tmp_path)
    assert begun.returncode == 0
    assert "too few rows of health, sports: `split` needs two" in begun.stderr


def test_the_sample_project_has_the_config_of_the_repository(tmp_path: Path, call: Call) -> None:
    begun = call("init", "demo", cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    home = tmp_path / "demo"
    for name in ("README.md", "train.jsonl", "val.jsonl", "test.jsonl"):
        assert (home / "data/sample" / name).read_bytes() == (SAMPLE / name).read_bytes()
    ours = load_config(ROOT / "ml_config.yaml").settings
    started = load_config(home / "ml_config.yaml").settings
    assert started.data == ours.data and started.deployment == ours.deployment
    assert started.model.name == ours.model.name
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "sample/*" in packaged["package-data"]["mlrun_assets"]
    before = contents(home)
    again = call("init", "demo", cwd=tmp_path)
    assert again.returncode == 2 and "exists already" in again.stderr
    (home / "ml_config.yaml").unlink()
    again = call("init", cwd=home)
    assert again.returncode == 2 and "nothing was written" in again.stderr
    assert contents(home).keys() == before.keys() - {"ml_config.yaml"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run",), "`mlrun-assets init` starts a project"),
        (("check-data",), "`mlrun-assets init --from FILE`"),
        (("split", "{rows}"), "`mlrun-assets init --from FILE` writes one"),
        (("split", "{rows}", "--output", "out", "--fractions", "0.7", "0.2", "0.2"), "= 1.1"),
        (("split", "{rows}", "--output", "out", "--fractions", "0.5", "nan", "0.5"), "= nan"),
        (("split", "{rows}", "--output", "out", "--fractions", "1", "0", "0"), "above 0"),
        (("split", "{rows}", "--output", "out"), "no column `text`, `label`"),
        (("split", "{rows}", "--output", "out", "--add"), "no such file to add rows to"),
        (("split", "missing.csv", "--output", "out"), "no such file"),
        (("init", "--text", "a"), "add --from FILE"),
        (("init", "--from", "{rows}", "--text", "topic", "--label", "topic"), "two columns"),
        (("init", "--from", "missing.csv"), "no such file"),
        (("init", "{rows}"), "is a file"),
    ],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing(
    tmp_path: Path, rows_file: Path, call: Call, words: tuple[str, ...], message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = call(*(word.format(rows=rows_file) for word in words), cwd=empty)
    assert ended.returncode == 2
    assert message in ended.stderr and ended.stderr.count("\n") == 1
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "check-data"])
def test_a_run_before_the_split_names_the_command(
    tmp_path: Path, rows_file: Path, call: Call, command: str
) -> None:
    assert call("init", "my", "--from", rows_file.name, cwd=tmp_path).returncode == 0
    ended = call(command, cwd=tmp_path / "my")
    assert ended.returncode == 2 and "`mlrun-assets split FILE`" in ended.stderr
    assert list(contents(tmp_path / "my")) == ["ml_config.yaml"]


@pytest.mark.parametrize(
    "paths",
    [
        "{train_path: a.csv, val_path: b.csv, test_path: c.csv}",
        "{train_path: train-*.jsonl, val_path: val.jsonl, test_path: test.jsonl}",
    ],
)
def test_split_writes_one_local_json_lines_file_per_split(
    tmp_path: Path, rows_file: Path, call: Call, paths: str
) -> None:
    (tmp_path / "ml_config.yaml").write_text(f"data: {paths}\n")
    ended = call("split", rows_file.name, cwd=tmp_path)
    assert ended.returncode == 2 and "data.train_path" in ended.stderr
    assert sorted(contents(tmp_path)) == ["ml_config.yaml", "my rows.csv", "piped"]


def texts_of(home: Path) -> dict[str, list[str]]:
    files = (home / f"data/{name}.jsonl" for name in SPLITS)
    lines = {file: file.read_text("utf-8").splitlines() for file in files}
    return {file.stem: [json.loads(line)["sentence"] for line in lines[file]] for file in lines}


def started(home: Path, rows_file: Path, call: Call) -> Path:
    """A project with splits, and a file of 90 other rows to add."""
    lines = rows_file.read_text("utf-8").splitlines(keepends=True)
    (home / "old.csv").write_text("".join(lines[:-90]), "utf-8")
    (home / "new.csv").write_text("".join([lines[0], *lines[-90:]]), "utf-8")
    assert call("init", ".", "--from", "old.csv", cwd=home).returncode == 0
    assert call("split", "old.csv", cwd=home).returncode == 0
    return home


@pytest.mark.parametrize("replaced", [1, 2])
def test_after_a_kill_the_same_command_adds_what_is_missing(
    tmp_path: Path,
    rows_file: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    replaced: int,
) -> None:
    def replace_some(source: Path, target: Path) -> Path:
        if len(done) == replaced:
            raise KeyboardInterrupt
        done.append(target)
        return replace(source, target)

    home = started(tmp_path, rows_file, call)
    config = home / "ml_config.yaml"  # without authors, all of whom have rows in a split
    config.write_text(config.read_text("utf-8").replace("  group_column:", "  # "), "utf-8")
    before = contents(home / "data")
    assert call("split", "new.csv", "--add", cwd=home).returncode == 0
    every = sorted(chain.from_iterable(texts_of(home).values()))
    sizes = [len(texts) for texts in texts_of(home).values()]
    for name in SPLITS:
        (home / f"data/{name}.jsonl").write_bytes(before[f"{name}.jsonl"])
    done: list[Path] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", replace_some)
    assert call("split", "new.csv", "--add", cwd=home).returncode == 130
    monkeypatch.setattr(Path, "replace", replace)
    (home / "data/.val.jsonl.999999999-0000.00000000.tmp").touch()  # of another machine
    dead = name_beside(home / "data/val.jsonl")
    dead = dead.with_name(dead.name.replace(f".{os.getpid()}-", ".999999999-"))
    dead.touch()
    parts = texts_of(home)
    assert len(set(chain.from_iterable(parts.values()))) == sum(map(len, parts.values()))
    again = call("split", "new.csv", "--add", cwd=home)
    assert again.returncode == 0, again.stderr
    assert sorted(chain.from_iterable(texts_of(home).values())) == every
    assert [len(texts) for texts in texts_of(home).values()] == sizes
    assert not dead.exists() and len(list((home / "data").glob("*.tmp"))) == 1


def test_a_killed_first_split_is_named(tmp_path: Path, rows_file: Path, call: Call) -> None:
    home = started(tmp_path, rows_file, call)
    (home / "data/test.jsonl").unlink()
    ended = call("split", "old.csv", cwd=home)
    assert ended.returncode == 2
    assert "train.jsonl exists already, but no test.jsonl: remove it" in ended.stderr


def test_links_stay_links(tmp_path: Path, rows_file: Path, call: Call) -> None:
    home = started(tmp_path, rows_file, call)
    (tmp_path / "store").mkdir()
    linked, stored = home / "data/train.jsonl", tmp_path / "store/train.jsonl"
    rows = linked.rename(stored).read_bytes()
    linked.symlink_to(stored)
    assert call("split", "new.csv", "--add", cwd=home).returncode == 0
    assert linked.is_symlink() and stored.read_bytes().startswith(rows)
    assert stored.read_bytes() != rows
    for name in ("val", "test"):
        (home / f"data/{name}.jsonl").unlink()
        (home / f"data/{name}.jsonl").symlink_to(stored)
    ended = call("split", "new.csv", "--add", cwd=home)
    assert ended.returncode == 2 and "lead to the same file" in ended.stderr


def test_rows_are_added_by_one_process_at_a_time(
    tmp_path: Path, rows_file: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def split_rows(*given: Any) -> splitting.Splitting:
        with pytest.raises(FileBusyError), locked(tmp_path / "data/train.jsonl", 0):
            pytest.fail("another process reads the same rows, and replaces those of this one")
        return original(*given)

    call("init", ".", "--from", rows_file.name, cwd=tmp_path)
    assert call("split", rows_file.name, cwd=tmp_path).returncode == 0
    row = "Qoraal cusub oo ku saabsan kubadda cagta;sports;somebody new\n"
    (tmp_path / "new.csv").write_text(f"sentence;topic;author\n{row}", "utf-8")
    original = splitting.split_rows
    monkeypatch.setattr(splitting, "split_rows", split_rows)
    added = call("split", "new.csv", "--add", cwd=tmp_path)
    assert added.returncode == 0 and "1 row added" in added.stdout, added.stderr
