"""Files and directories, written whole or not at all, and by one process at a time."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from mlrun_assets.errors import FileBusyError

MAX_BYTES = 200_000_000  # of a registry, a history or a record
LOCK_SECONDS = 600.0  # copying and loading a large model takes minutes


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` so that readers see the old file or the new one.

    Text is UTF-8 and its newlines are kept as they are.

    Raises:
        OSError: the directory can't be written or the disk is full; ``path`` is unchanged.
    """
    with open_atomically(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file that is renamed to ``path`` when the block ends, and removed when it fails.

    The bytes go to a temporary file in the same directory, which is flushed to the disk before it
    is renamed. An existing file keeps its permissions.

    Raises:
        OSError: the directory can't be written or the disk is full; ``path`` is unchanged.
    """
    with _temporary(path) as temporary:
        with _flushed(temporary, path) as file:
            yield file
        temporary.replace(path)


_HOST = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:4]
_LEFTOVER = re.compile(rf"\..+\.([0-9]{{1,9}})-{_HOST}\.[0-9a-f]{{8}}\.(?:tmp|unfinished)")


def name_beside(path: Path, ending: str = "tmp") -> Path:
    """A free name for what becomes ``path``: `remove_leftovers` finds its process in it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_HOST}.{secrets.token_hex(4)}.{ending}")


def remove_leftovers(directory: Path, *, below: bool = False) -> None:
    """Remove the temporary files and unfinished directories of dead processes from ``directory``.

    Those of other machines and containers are left: nobody knows here whether their process lives.
    So are those of other users in a directory for all users, such as /tmp. With ``below``, all
    directories in it are searched as well.
    """
    import psutil

    for folder, folders, files in os.walk(directory):
        found = ((name, _LEFTOVER.fullmatch(name)) for name in (*folders, *files))
        for path, process in ((Path(folder, name), match) for name, match in found if match):
            if psutil.pid_exists(int(process[1])) or _of_another_user(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not below:
            break


def _of_another_user(path: Path) -> bool:
    """Whether a file is another user's, in a directory where each user removes only their own."""
    shared = path.parent.stat().st_mode & stat.S_ISVTX
    try:
        return bool(shared) and path.lstat().st_uid != os.geteuid()
    except FileNotFoundError:  # another process has just removed it
        return False


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A free name beside ``path``; what has that name when the block ends is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_beside(path)
    try:
        yield temporary
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)  # the system names no file that was open already
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def _flushed(temporary: Path, path: Path) -> Iterator[BinaryIO]:
    with temporary.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        temporary.chmod(path.stat().st_mode & 0o777)


def write_together(contents: Mapping[Path, bytes], *, replace: bool = False) -> None:
    """Write several files: all of them, or none if one exists or can't be written.

    With ``replace``, existing files are replaced, once all the new ones are on the disk. A link is
    kept, and the file that it leads to is written. If the process is killed, the last files may
    still be as they were.

    Raises:
        OSError: a file exists, a directory can't be written, or the disk is full.
    """
    written: list[Path] = []
    contents = {path.resolve(): content for path, content in contents.items()}
    for directory in {path.parent for path in contents}:
        remove_leftovers(directory)
    with ExitStack() as stack:
        temporary = {path: stack.enter_context(_temporary(path)) for path in contents}
        for path, content in contents.items():
            with _flushed(temporary[path], path) as file:
                file.write(content)
        try:
            for path in contents:
                if replace:
                    temporary[path].replace(path)
                else:
                    _rename_new(temporary[path], path)
                written.append(path)
        except BaseException:
            for path in [] if replace else written:
                path.unlink()
            raise


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename a file; `FileExistsError` if there is one, also one that was made just now."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)


def replace_if_unchanged(path: Path, expected: bytes, content: bytes) -> bool:
    """Replace a file that others write to without a lock. A missing file counts as empty.

    Nothing that others write is lost on Linux. On other systems, and on file systems that can't
    exchange two files, it can be lost within microseconds of the replacement.

    Returns:
        False if the file does not hold ``expected``; it is then as others left it.

    Raises:
        OSError: the directory can't be written or the disk is full; ``path`` is unchanged.
    """
    with _temporary(path) as temporary:
        with _flushed(temporary, path) as file:
            file.write(content)
        if read_if_exists(path) != expected:
            return False
        if not _exchange(temporary, path):
            temporary.replace(path)
            return True
        if _read_when_written(temporary) == expected:
            return True
        # Others wrote after the test: put that back, with what they wrote since then.
        _exchange(temporary, path)
        later = _read_when_written(temporary)
        if later.startswith(content):
            with path.open("ab") as file:
                file.write(later[len(content) :])
        else:
            _exchange(temporary, path)
        return False


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file that a person may have put there, in bounded time and memory.

    Raises:
        OSError: it can't be read, is a pipe or a device, which may never end, or is too large.
    """
    if not (path.is_dir() or stat.S_ISREG(path.stat().st_mode)):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes / 1e6:,.0f} MB", str(path))
    return content


def read_if_exists(path: Path) -> bytes:
    """The content of a file, read by `read_file`; nothing if it is missing."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""


def _exchange(new: Path, path: Path) -> bool:
    """Exchange two files in one step, or rename ``new`` if ``path`` is missing.

    Returns:
        False if that failed: other systems and some file systems can't.
    """
    here, no_replace, exchange = -100, 1, 2  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    flag = exchange if path.exists() else no_replace
    return bool(rename(here, os.fsencode(new), here, os.fsencode(path), flag) == 0)


def _read_when_written(path: Path) -> bytes:
    """The content of a file once no process has it open for writing, or after a second.

    The system grants a read lease only then.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        for _ in range(100):
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # no leases on this file system, or the file of another user
                break
            else:
                break
        return file.read()
    return b""


def append_line(path: Path, line: str) -> None:
    """Append ``line``, which has no newline, and flush it to the disk: all of it or nothing.

    If a killed process left an unfinished last line, the new line starts below it. The caller
    holds the lock of ``path``.

    Raises:
        OSError: the file can't be written or the disk is full; the file is as it was.
    """
    content = line.encode("utf-8") + b"\n"
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                content = b"\n" + content
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of ``path``; other processes and threads wait until the block ends.

    The lock is the file ``.NAME.lock`` beside ``path``. The system releases it when a process dies.

    Raises:
        FileBusyError: another process has held the lock for ``seconds``; or as in `acquire`.
        OSError: the lock file can't be created.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    if not acquire(lock, seconds):
        raise FileBusyError(
            f"{path}: another process has been working on it for {seconds:.0f} s; wait until "
            "that process ends, or end it, then run again"
        )
    try:
        yield
    finally:
        lock.release()


def acquire(lock: FileLock, seconds: float = 0.0) -> bool:
    """Acquire ``lock``; whether that was possible within ``seconds``.

    Raises:
        FileBusyError: the lock file exists and can't be opened, such as that of another user.
        OSError: the lock file can't be created.
    """
    try:
        lock.acquire(timeout=seconds, poll_interval=0.01)
    except Timeout:
        return False
    except OSError as error:
        try:
            found = Path(lock.lock_file).lstat()
        except OSError:
            raise error from None
        raise FileBusyError(
            f"{lock.lock_file}: can't be locked ({error.strerror}); it has the mode "
            f"{stat.filemode(found.st_mode)} and belongs to user {found.st_uid}, and you are user "
            f"{os.geteuid()}: make it a file that you may write to (chmod), or remove it while "
            "nothing runs here"
        ) from None
    return True


@contextmanager
def new_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """An empty directory that is renamed to ``target`` when the block ends.

    When the block fails, the directory is removed and ``target`` is unchanged. All files are
    flushed to the disk before the rename.

    Args:
        target: the final path. Its parent is created.
        replace: whether to replace an existing directory.

    Raises:
        OSError: a file can't be written; or, without ``replace``, ``target`` exists and is not an
            empty directory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    unfinished = name_beside(target, "unfinished")
    try:
        unfinished.mkdir()
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            elif path.is_dir():
                sync_directory(path)
        if replace and target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # a renamed directory is not found here
    sync_directory(target.parent)


@contextmanager
def temporary_directory(name: str) -> Iterator[Path]:
    """A directory among the system's temporary files, only for this user, removed at the end.

    Those of this user's killed processes are removed first: they may hold texts.

    Raises:
        OSError: it can't be created.
    """
    directory = name_beside(Path(tempfile.gettempdir(), name), "unfinished")
    remove_leftovers(directory.parent)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def link_directory(source: Path, target: Path) -> None:
    """Make ``target`` a directory with the files of ``source``, in one step; it is replaced.

    The files are hard links, which need no space, or copies where the file system has none.

    Raises:
        OSError: a file can't be read, or the disk is full; ``target`` is unchanged.
    """
    with new_directory(target, replace=True) as directory:
        shutil.copytree(source, directory, copy_function=link_or_copy, dirs_exist_ok=True)


def link_or_copy(source: str, target: str) -> None:
    """Make ``target`` a hard link to ``source``, or a copy where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)


def sync_directory(path: Path) -> None:
    """Flush the entries of a directory to the disk, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_bytes(content: bytes) -> str:
    """``sha256:`` and the hex digest of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_file(path: Path) -> str:
    """``sha256:`` and the hex digest of one file, read in blocks."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def digest_directory(path: Path) -> str:
    """One digest of the relative names and contents of all files below ``path``."""
    lines = [
        f"{file.relative_to(path).as_posix()}\t{digest_file(file)}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return digest_bytes("".join(lines).encode("utf-8"))


def size_in_bytes(path: Path) -> int:
    """The size of a file, or of all files below a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
