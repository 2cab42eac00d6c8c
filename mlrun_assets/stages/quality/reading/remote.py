"""Data files at URLs, through fsspec: ``https://``, ``s3://``, ``gs://``, ``hf://``, ``memory://``."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlrun_assets.errors import DataError

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
