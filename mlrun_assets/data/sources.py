"""The data files that the config names: local paths, patterns and URLs."""

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

import orjson

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data.content import COMPRESSED, FORMATS, format_of
from mlrun_assets.data.reading import DataFile
from mlrun_assets.errors import DataError, MlrunError, public_name
from mlrun_assets.files import digest_bytes, digest_file
from mlrun_assets.records import SPLITS

UNLABELLED = "unlabelled"
AUXILIARY = "auxiliary"  # helper rows
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http", "https")
_SILENCE = 60.0  # seconds


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {}
    if _scheme(url) in _WEB:
        from aiohttp import ClientTimeout

        # No limit for a large file, but one for a server that sends nothing.
        timeout = ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
        options["client_kwargs"] = {"timeout": timeout}
    system, path = fsspec.url_to_fs(url, **options)
    return system, path


def _unreachable(url: str, error: Exception) -> DataError:
    """One message for any error of the library that fetches the URL.

    The error is not quoted, because it may contain the URL with its credentials.
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


# Files of the splits

_WHERE = "correct the paths in the data section of ml_config.yaml"


@dataclass(frozen=True)
class Source:
    """A data file of a split: an absolute path or a URL."""

    location: str

    @property
    def name(self) -> str:
        """The location for messages, without credentials."""
        return public_name(self.location) if self.is_url else self.location

    @property
    def is_url(self) -> bool:
        return _URL.match(self.location) is not None


def inputs_of_run(config: LoadedConfig) -> tuple[str, ...]:
    """The splits, and the helper rows if there are any: what a model is made from."""
    return (*SPLITS, AUXILIARY) if config.settings.data.auxiliary_path else SPLITS


def source_paths(
    config: LoadedConfig, splits: Sequence[str] | None = None
) -> dict[str, tuple[Source, ...]]:
    """The data files by split, those of `inputs_of_run` by default.

    `UNLABELLED` and `AUXILIARY` may name the same files as a split.

    Raises:
        DataError: files are missing, have an unknown format or belong to two splits. The message
            lists all of them.
    """
    found: dict[str, tuple[Source, ...]] = {}
    problems = []
    for split in splits or inputs_of_run(config):
        try:
            found[split] = split_sources(config, split)
        except MlrunError as error:
            problems.append(str(error))
            continue
        whys = [(source.name, _problem(source)) for source in found[split]]
        problems += [f"data.{split}_path: {name}: {why}" for name, why in whys if why]
    problems += _in_two_splits({split: found[split] for split in SPLITS if split in found})
    if problems:
        raise DataError(f"{'; '.join(problems)}; {_WHERE}")
    return found


def split_sources(config: LoadedConfig, split: str) -> tuple[Source, ...]:
    """The files that ``data.<split>_path`` names; the matches of a pattern are sorted.

    Raises:
        DataError: a pattern matches no file, or a server can't be reached.
        ConfigError: the credentials of a URL are missing.
    """
    locations: list[str] = []
    for each in config.settings.data.paths(split):
        named = config.reveal(each)
        matching = _matching(config.directory, named)
        if not Source(named).is_url and not any(map(os.path.lexists, matching)):
            matching = _matching(config.directory, each)  # a mistyped URL stays redacted
        if not matching:
            pattern = Source(each).name
            raise DataError(f"data.{split}_path: the pattern `{pattern}` matches no file")
        locations += matching
    return tuple(Source(location) for location in dict.fromkeys(locations))


def digest_sources(sources: Sequence[Source]) -> str | None:
    """The joint digest of local files in order; None if there is none, or one is not local."""
    with suppress(OSError, ValueError):
        paths = [Path(source.location) for source in sources]
        if paths and not any(source.is_url for source in sources) and all(map(Path.is_file, paths)):
            return join_digests([digest_file(path) for path in paths])
    return None


def join_digests(digests: Sequence[str]) -> str:
    """The digest of the digests, one per line; a single digest is returned as it is."""
    return digests[0] if len(digests) == 1 else digest_bytes("\n".join(digests).encode())


def fetch_sources(
    sources: dict[str, tuple[Source, ...]], directory: Path
) -> dict[str, tuple[DataFile, ...]]:
    """The local files to read. URLs are downloaded into ``directory`` once.

    Raises:
        DataError: a URL can't be fetched.
    """
    return {
        split: tuple(
            DataFile(source.name, _local_path(source, directory / f"{split}-{number}"))
            for number, source in enumerate(each, start=1)
        )
        for split, each in sources.items()
    }


def _local_path(source: Source, target: Path) -> Path:
    """The file itself; a URL is downloaded to ``target`` plus its suffixes, unless that exists."""
    url = source.location
    if not source.is_url:
        return Path(url)
    copy = target.with_name(target.name + "".join(Path(urlsplit(source.name).path).suffixes[-2:]))
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


def _matching(directory: Path, named: str) -> list[str]:
    """The URLs or absolute paths that match; what exists is never taken for a pattern.

    HTTP has no listing, so an HTTP URL is never a pattern.
    """
    if Source(named).is_url:
        if "*" not in named or _scheme(named) in _WEB:
            return [named]
        try:
            system, path = _file_system(named)
            return sorted(system.unstrip_protocol(name) for name in system.glob(path))
        except Exception as error:  # noqa: BLE001 - see `_unreachable`
            raise _unreachable(named, error) from None
    # os.path accepts every string; pathlib raises for some, such as `~nobody`.
    path = os.path.normpath(os.path.join(directory, os.path.expanduser(named)))  # noqa: PTH111, PTH118
    known = path
    while known and not os.path.lexists(known):
        known = os.path.dirname(known)  # noqa: PTH120
    rest = path[len(known) :]
    if glob.has_magic(rest):
        matching = sorted(glob.glob(glob.escape(known) + rest, recursive=True))  # noqa: PTH207
        return [file for each in matching for file in saved_files(each)]
    return saved_files(path)


def saved_files(path: str) -> list[str]:
    """The files in a directory that `datasets` saved to disk; of any other path, itself."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        state = orjson.loads((Path(path) / "state.json").read_bytes())
        files = [Path(path) / Path(file["filename"]).name for file in state["_data_files"]]
        return list(map(str, files)) or [path]
    return [path]


def data_file(path: Path) -> DataFile:
    """A local file that the command line names.

    Raises:
        DataError: the file is missing, can't be read, or has an unknown format.
    """
    source = Source(str(path))
    if why := _problem(source):
        raise DataError(f"{source.name}: {why}")
    return DataFile(source.name, path)


def _problem(source: Source) -> str | None:
    """Why a file can't be read. A pipe is not opened, because that can block."""
    if not source.is_url:
        path = Path(source.location)
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
    if format_of(source.name) is None:
        known = ", ".join([*FORMATS, *(f".jsonl{ending}" for ending in COMPRESSED)])
        return f"unknown format; use one of {known}"
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
    """A value that is equal for two names of the same file."""
    with suppress(OSError, ValueError):
        if not source.is_url:
            found = Path(source.location).stat()
            return found.st_dev, found.st_ino
    return source.location
