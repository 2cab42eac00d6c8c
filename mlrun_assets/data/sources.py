"""What the config names to data files: local ones, patterns and URLs, each file once."""

from __future__ import annotations

import glob
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data.content import FORMATS, PACKED, format_of
from mlrun_assets.data.reading import DataFile
from mlrun_assets.errors import DataError
from mlrun_assets.files import digest_bytes, digest_file
from mlrun_assets.records import SPLITS

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http", "https")
SECONDS_OF_SILENCE = 60.0


def is_url(location: str) -> bool:
    """Whether a location of the config is a URL."""
    return _URL.match(location) is not None


def public_name(url: str) -> str:
    """``url`` without user, password, query and fragment: any of them may be a credential."""
    scheme, _, rest = url.partition("://")
    bare = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = bare.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def list_url(url: str) -> list[str]:
    """The URLs that a pattern matches, sorted; ``url`` itself where it is none.

    The web has no listing, and a question mark in its URLs starts a query.

    Raises:
        DataError: the place can't be reached.
    """
    if "*" not in url or _scheme(url) in _WEB:
        return [url]
    try:
        system, path = _file_system(url)
        return sorted(system.unstrip_protocol(name) for name in system.glob(path))
    except Exception as error:  # noqa: BLE001 - see `_unreachable`
        raise _unreachable(url, error) from None


def fetch(url: str, target: Path) -> Path:
    """Copy what is at ``url`` to ``target``, with the ending of its name; a copy there is kept.

    The file takes its name only when it is whole.

    Raises:
        DataError: it can't be fetched.
    """
    ending = "".join(Path(urlsplit(public_name(url)).path).suffixes[-2:])
    copy = target.with_name(target.name + ending)
    if copy.exists():
        return copy
    partial = copy.with_name(f".{copy.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        system, path = _file_system(url)
        system.get_file(path, str(partial))
        if not partial.is_file():
            raise FileNotFoundError
        partial.replace(copy)
    except Exception as error:  # noqa: BLE001 - see `_unreachable`
        raise _unreachable(url, error) from None
    finally:
        partial.unlink(missing_ok=True)
    return copy


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {}
    if _scheme(url) in _WEB:
        from aiohttp import ClientTimeout

        # A large file may take its time; a server that says nothing may not.
        timeout = ClientTimeout(
            total=None, sock_connect=SECONDS_OF_SILENCE, sock_read=SECONDS_OF_SILENCE
        )
        options["client_kwargs"] = {"timeout": timeout}
    system, path = fsspec.url_to_fs(url, **options)
    return system, path


def _unreachable(url: str, error: Exception) -> DataError:
    """One message, whatever the library behind the URL raises.

    The error itself is not quoted: it may hold the URL with its credentials.
    """
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError):
        why = "no such file there"
    elif isinstance(error, ImportError):
        why = f"{_scheme(url)}:// needs a package that is not installed (see fsspec)"
    elif isinstance(error, ValueError) and not status:
        why = "not a URL that can be read"
    elif status:
        why = f"the server answers {status}"
    else:
        why = getattr(error, "strerror", None) or type(error).__name__
    return DataError(f"{public_name(url)}: can't be fetched: {why}; check the URL and the network")


UNLABELLED = "unlabelled"
_WHERE = "correct the paths in the data section of ml_config.yaml"


@dataclass(frozen=True)
class Source:
    """One data file of a split: an absolute path, or a URL."""

    location: str

    @property
    def name(self) -> str:
        """How messages call it: without what could be a credential."""
        return public_name(self.location) if self.is_url else self.location

    @property
    def is_url(self) -> bool:
        return is_url(self.location)


def source_paths(
    config: LoadedConfig, splits: Sequence[str] = SPLITS
) -> dict[str, tuple[Source, ...]]:
    """The data files of each split, by the name of the split; none is opened.

    Texts without labels, `UNLABELLED`, may be the same files as a split: they are told apart later.

    Raises:
        DataError: one message for all files that are missing, are no data files or are named by
            two splits.
    """
    found: dict[str, tuple[Source, ...]] = {}
    problems = []
    for split in splits:
        try:
            found[split] = split_sources(config, split)
        except DataError as error:
            problems.append(str(error))
            continue
        for source in found[split]:
            problems += _problems(f"data.{split}_path", source)
    problems += _in_two_splits({split: found[split] for split in SPLITS if split in found})
    if problems:
        raise DataError(f"{'; '.join(problems)}; {_WHERE}")
    return found


def split_sources(config: LoadedConfig, split: str) -> tuple[Source, ...]:
    """The files that ``data.<split>_path`` names; those that match a pattern are sorted.

    Raises:
        DataError: a pattern matches no file.
    """
    locations: list[str] = []
    for each in config.settings.data.paths(split):
        matching = list_url(each) if is_url(each) else _local(config.directory, each)
        if not matching:
            shown = public_name(each) if is_url(each) else each
            raise DataError(f"data.{split}_path: the pattern `{shown}` matches no file")
        locations += matching
    return tuple(Source(location) for location in dict.fromkeys(locations))


def digest_sources(sources: Sequence[Source]) -> str | None:
    """One digest of the contents of local files, in their order; None: one is no local file.

    That of a single file is its own; see `join_digests`.
    """
    with suppress(OSError, ValueError):
        paths = [Path(source.location) for source in sources]
        if not any(source.is_url for source in sources) and all(map(Path.is_file, paths)):
            return join_digests([digest_file(path) for path in paths])
    return None


def join_digests(digests: Sequence[str]) -> str:
    """The digest itself where there is one, else the digest of all, a line each."""
    return digests[0] if len(digests) == 1 else digest_bytes("\n".join(digests).encode())


def fetch_sources(
    sources: dict[str, tuple[Source, ...]], directory: Path
) -> dict[str, tuple[DataFile, ...]]:
    """The files to read; what is at a URL is fetched into ``directory``, once.

    Raises:
        DataError: a URL can't be reached.
    """
    return {
        split: tuple(
            DataFile(
                source.name,
                fetch(source.location, directory / f"{split}-{number}")
                if source.is_url
                else Path(source.location),
            )
            for number, source in enumerate(each, start=1)
        )
        for split, each in sources.items()
    }


def _local(directory: Path, named: str) -> list[str]:
    """Absolute paths; a file that is there goes before a pattern of the same name."""
    # os.path answers for every string; pathlib raises for some that are no path (`~nobody`).
    path = os.path.normpath(os.path.join(directory, os.path.expanduser(named)))  # noqa: PTH111, PTH118
    if glob.has_magic(path) and not os.path.lexists(path):
        return sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern is absolute
    return [path]


def data_file(path: Path) -> DataFile:
    """A local file that is named on the command line.

    Raises:
        DataError: it is missing, can't be read, or is no data file.
    """
    source = Source(str(path))
    if why := _problem(source):
        raise DataError(f"{source.name}: {why}")
    return DataFile(source.name, path)


def _problems(key: str, source: Source) -> list[str]:
    why = _problem(source)
    return [f"{key}: {source.name}: {why}"] if why else []


def _problem(source: Source) -> str | None:
    why = None if source.is_url else _unreadable(Path(source.location))
    if why is None and format_of(source.name) is None:
        known = ", ".join([*FORMATS, *(f".jsonl{ending}" for ending in PACKED)])
        why = f"unknown format; use one of {known}"
    return why


def _unreadable(path: Path) -> str | None:
    """Why a file can't be read; a pipe is not opened, since that may wait for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
        path.open("rb").close()
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except ValueError:
        return "not a path"
    return None


def _in_two_splits(found: dict[str, tuple[Source, ...]]) -> list[str]:
    problems = []
    owner: dict[object, str] = {}
    for split, sources in found.items():
        for source in sources:
            first = owner.setdefault(_identity(source), split)
            if first != split:
                problems.append(
                    f"data.{split}_path: {source.name} is also in data.{first}_path: split the rows"
                )
    return problems


def _identity(source: Source) -> object:
    """What two names of the same file have in common."""
    with suppress(OSError, ValueError):
        if not source.is_url:
            found = Path(source.location).stat()
            return found.st_dev, found.st_ino
    return source.location
