import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlrun_assets import files
from mlrun_assets.errors import FileBusyError, RecordError
from mlrun_assets.experiment import is_locked, lock_experiment
from mlrun_assets.files import (
    append_line,
    digest_directory,
    digest_file,
    link_directory,
    locked,
    name_beside,
    new_directory,
    read_file,
    remove_leftovers,
    replace_if_unchanged,
    size_in_bytes,
    temporary_directory,
    write_atomically,
    write_together,
)
from mlrun_assets.registries.registry import read_registry, reserve_report_name


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "old")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space") as raised:
        write_atomically(file, "new")
    assert raised.value.filename == str(file)
    with pytest.raises(OSError, match="No space"):
        append_line(file, "2")
    with pytest.raises(OSError, match="No space"), new_directory(tmp_path / "model") as directory:
        (directory / "weights").write_text("1")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_newlines_and_the_permissions_of_an_existing_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_atomically(file, b"1")
    file.chmod(0o640)
    write_atomically(file, "x\r\ny\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes() == b"x\r\ny\n"


def test_digest_of_a_directory_sees_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_atomically(tmp_path / name / "sub" / "x", "1")
    assert digest_directory(tmp_path / "a") == digest_directory(tmp_path / "b")
    (tmp_path / "b" / "sub" / "x").rename(tmp_path / "b" / "sub" / "y")
    assert digest_directory(tmp_path / "a") != digest_directory(tmp_path / "b")
    assert digest_file(tmp_path / "a" / "sub" / "x").startswith("sha256:6b86b273ff34fce1")
    assert size_in_bytes(tmp_path / "a") == 1


def test_a_linked_directory_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "below" / "target"
    write_atomically(source / "inner" / "file", "1")
    link_directory(source, target)
    assert (target / "inner" / "file").samefile(source / "inner" / "file")
    (source / "more").write_text("2")
    monkeypatch.setattr(os, "link", full_disk)  # as where the file system has no hard links
    link_directory(source, target)
    assert (target / "more").read_text() == "2"
    assert not (target / "more").samefile(source / "more")
    (source / "third").write_text("3")
    monkeypatch.setattr(shutil, "copy2", full_disk)
    with pytest.raises(OSError, match="No space left"):
        link_directory(source, target)
    assert names(target) == ["inner", "more"]


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_block_changes_nothing(
    tmp_path: Path, replace: bool, error: type[BaseException]
) -> None:
    target = tmp_path / "model"
    write_atomically(target / "weights", "old")

    def fail() -> None:
        with new_directory(target, replace=replace) as directory:
            (directory / "weights").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_directory_that_is_there_is_replaced_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "below" / "model"
    with new_directory(target) as directory:
        (directory / "weights").write_text("1")
        assert not target.exists()
    with pytest.raises(OSError, match="not empty"), new_directory(target) as directory:
        (directory / "weights").write_text("2")
    assert (target / "weights").read_text() == "1"
    with new_directory(target, replace=True) as directory:
        (directory / "other").write_text("3")
    assert names(target) == ["other"]
    assert names(target.parent) == ["model"]
    (target / "other").unlink()
    with new_directory(target):  # an empty one is as good as none
        pass


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    own = name_beside(tmp_path / "a").name
    dead = own.replace(f".{os.getpid()}-", ".999999999-")
    elsewhere = re.sub(r"-[0-9a-f]{4}\.", "-zzzz.", dead)
    kept = [own, elsewhere, ".a.tmp", ".lock", "a.999999999-0000.00000000.tmp"]
    for name in (dead, *kept):
        (tmp_path / name).write_text("x")
    (tmp_path / dead.replace("tmp", "unfinished") / "inner").mkdir(parents=True)
    (tmp_path / dead.replace(".a.", ".link.")).symlink_to(tmp_path)
    remove_leftovers(tmp_path)
    assert set(names(tmp_path)) == set(kept)
    remove_leftovers(tmp_path / "missing")


def test_an_appended_line_stays_apart_from_one_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    append_line(file, "1")
    append_line(file, "2")
    with file.open("ab") as cut_off:
        cut_off.write(b"cut o")
    append_line(file, "Xamar €")
    assert file.read_text("utf-8") == "1\n2\ncut o\nXamar €\n"


def test_a_locked_file_keeps_others_waiting_and_names_itself(tmp_path: Path) -> None:
    def lock(seconds: float = 60.0) -> str:
        with locked(tmp_path / "a.md", seconds):
            return "got it"

    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "a.md"), pytest.raises(FileBusyError, match=r"a\.md: another"):
            pool.submit(lock, 0.05).result()
        assert pool.submit(lock).result() == "got it"


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"theirs\n")


def save_in_place(path: Path) -> None:
    path.write_bytes(b"old\ntheirs\n")


def save_by_rename(path: Path) -> None:
    new = path.with_name("new")
    save_in_place(new)
    new.rename(path)


@pytest.mark.parametrize("links", [True, False])
def test_of_two_processes_that_write_together_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    if links:  # as if the other process had not written yet
        monkeypatch.setattr(Path, "exists", lambda _path: False)
    else:
        monkeypatch.setattr(os, "link", full_disk)
    write_together({second: b"of the other"})
    with pytest.raises(FileExistsError, match=str(second)):
        write_together({first: b"1", second: b"2"})
    assert names(tmp_path) == ["2"] and second.read_bytes() == b"of the other"


@pytest.mark.parametrize("write", [append, save_in_place, save_by_rename])
@pytest.mark.parametrize("before", ["test", "exchange", "exchange back"])
def test_what_others_write_during_a_replacement_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], before: str
) -> None:
    file = tmp_path / "a.md"
    file.write_bytes(b"old\n")
    exchange, moments = files._exchange, iter(["exchange", "exchange back", "the end"])

    def exchange_late(new: Path, path: Path) -> bool:
        moment = next(moments)
        if moment == before:
            write(path)
        elif moment == "exchange":
            append(path)
        return exchange(new, path)

    if before == "test":
        write(file)
    monkeypatch.setattr(files, "_exchange", exchange_late)
    assert not replace_if_unchanged(file, b"old\n", b"old\nours\n")
    # An append that follows another one is kept beside it; a whole text is what its writer saved.
    twice = before == "exchange back" and write is append
    assert file.read_bytes() == b"old\ntheirs\n" + b"theirs\n" * twice
    assert names(tmp_path) == ["a.md"]


def test_a_file_that_is_open_for_writing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.md"
    file.write_bytes(b"old\n")
    theirs = file.open("ab")
    monkeypatch.setattr(time, "sleep", lambda _: (theirs.write(b"theirs\n"), theirs.close()))
    assert not replace_if_unchanged(file, b"old\n", b"new\n")
    assert file.read_bytes() == b"old\ntheirs\n"


def test_a_replaced_file_keeps_its_permissions_and_a_missing_one_is_made(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    assert replace_if_unchanged(file, b"", b"1")
    file.chmod(0o640)
    assert replace_if_unchanged(file, b"1", b"2")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"2", 0o640)


def test_a_file_is_replaced_on_a_system_without_exchanges_and_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as macOS."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    monkeypatch.delattr(fcntl, "F_SETLEASE", raising=False)
    file = tmp_path / "a.md"
    file.write_bytes(b"1")
    assert replace_if_unchanged(file, b"1", b"2")
    assert (file.read_bytes(), names(tmp_path)) == (b"2", ["a.md"])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "_registry.md"
    make(path)
    with pytest.raises(OSError, match="not a regular file"):
        read_file(path)
    with pytest.raises(RecordError, match=r"_registry.md: can't be read \(not a regular file\)"):
        read_registry(tmp_path)


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_file(path, 4)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)


def of_another_user(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.touch(0o644)
    real = os.open

    def refused(path: str, *others: int) -> int:
        if Path(path) == lock:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *others)

    monkeypatch.setattr(os, "open", refused)


@pytest.mark.parametrize(
    ("spoil", "mode"),
    [
        (of_another_user, "-rw-r--r--"),
        (lambda lock, _: lock.mkdir(0o755), "drwxr-xr-x"),
        (lambda lock, _: lock.symlink_to(lock), "lrwxrwxrwx"),
    ],
)
@pytest.mark.parametrize(
    ("take", "name"),
    [
        (lambda path: locked(path / "a").__enter__(), ".a.lock"),
        (lambda path: reserve_report_name(path, "x", "20261126"), "._registry.md.lock"),
        (lock_experiment, ".lock"),
        (lock_experiment, ".lock-attempt.lock"),
        (is_locked, ".lock-attempt.lock"),
    ],
)
def test_a_lock_that_can_not_be_opened_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    mode: str,
    take: Callable[[Path], object],
    name: str,
) -> None:
    (tmp_path / ".lock").touch() if name != ".lock" else None
    spoil(tmp_path / name, monkeypatch)
    with pytest.raises(FileBusyError) as error:
        take(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: can't be locked (")
    assert mode in str(error.value) and f"user {os.geteuid()}" in str(error.value)


def test_temporary_directories_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o1777)
    with temporary_directory("check-data") as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        dead = directory.with_name(directory.name.replace(f".{os.getpid()}-", ".999999999-"))
        for left in (dead, dead.with_name(f".other{dead.name}")):
            left.mkdir()
            (left / "texts").write_text("x")
        with temporary_directory("predict") as other:
            assert set(names(tmp_path)) == {directory.name, other.name}
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other users")
def test_leftovers_of_other_users_stay_where_all_users_write(tmp_path: Path) -> None:
    left = tmp_path / name_beside(Path("a")).name.replace(f".{os.getpid()}-", ".999999999-")
    left.write_text("x")
    os.chown(left, 12345, 12345)
    tmp_path.chmod(0o1777)
    remove_leftovers(tmp_path)
    assert left.exists()
    tmp_path.chmod(0o777)
    remove_leftovers(tmp_path)
    assert not left.exists()
