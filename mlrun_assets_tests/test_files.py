import os
import shutil
from pathlib import Path

import pytest

from mlrun_assets.files import (
    digest_directory,
    digest_file,
    link_directory,
    size_in_bytes,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as raised:
        write_atomically(file, "new")
    assert raised.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_permissions_of_an_existing_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_atomically(file, b"1")
    file.chmod(0o640)
    write_atomically(file, b"2")
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes() == b"2"


def test_newlines_are_kept(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "x\r\ny\n")
    assert (tmp_path / "a").read_bytes() == b"x\r\ny\n"


def test_digest_of_a_directory_sees_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("1")
    assert digest_directory(tmp_path / "a") == digest_directory(tmp_path / "b")
    (tmp_path / "b" / "sub" / "x").rename(tmp_path / "b" / "sub" / "y")
    assert digest_directory(tmp_path / "a") != digest_directory(tmp_path / "b")
    assert digest_file(tmp_path / "a" / "sub" / "x").startswith("sha256:6b86b273ff34fce1")
    assert size_in_bytes(tmp_path / "a") == 1


def test_a_linked_directory_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "below" / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("1")
    link_directory(source, target)
    assert (target / "inner" / "file").samefile(source / "inner" / "file")

    def no_links(*_: object) -> None:
        raise OSError("no hard links here")

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    (source / "more").write_text("2")
    monkeypatch.setattr(os, "link", no_links)
    link_directory(source, target)
    assert (target / "more").read_text() == "2"
    assert not (target / "more").samefile(source / "more")
    (source / "third").write_text("3")
    monkeypatch.setattr(shutil, "copy2", full_disk)
    with pytest.raises(OSError, match="no space left"):
        link_directory(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["inner", "more"]
