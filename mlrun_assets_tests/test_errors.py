"""Advice by the kind of an operating-system error."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import mlrun_assets
from mlrun_assets.errors import DataError, hide_credentials, message_of, public_name, redact

NETWORK = "check the network"
ALL_ADVICE = ("make room", "permissions", "read-only", "check the path", NETWORK)


def advice_of(error: OSError) -> list[str]:
    return [each for each in ALL_ADVICE if each in message_of(error)]


@pytest.mark.parametrize(
    ("numbers", "advice"),
    [
        ([errno.ENOSPC, errno.EDQUOT], ["make room"]),
        ([errno.EACCES, errno.EPERM], ["permissions"]),
        ([errno.EROFS], ["read-only"]),
        ([errno.ENOENT, errno.ENOTDIR], ["check the path"]),
        ([errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH], [NETWORK]),
        ([errno.EISDIR, errno.EIO, errno.EINVAL, errno.EPIPE], []),
    ],
)
def test_advice_fits_the_error_number(numbers: list[int], advice: list[str]) -> None:
    for number in numbers:
        error = OSError(number, os.strerror(number), "a.csv")
        assert message_of(error).startswith(f"a.csv: {os.strerror(number)}")
        assert advice_of(error) == advice


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        TimeoutError("timed out"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        ConnectionError("the peer went away"),
    ],
)
def test_network_errors_name_no_file_and_give_no_disk_advice(error: OSError) -> None:
    assert advice_of(error) == [NETWORK]
    assert "file" not in message_of(error)


@pytest.mark.parametrize("kind", [DataError, partial(OSError, 2, "missing")])
def test_a_message_shows_no_control_characters(kind: Callable[[str], Exception]) -> None:
    assert message_of(kind("\u202ea\x1b[31m.csv")).startswith("a [31m.csv")


def test_the_message_of_an_own_error_stays_as_it_is() -> None:
    assert message_of(DataError("train.csv: no rows; add some")) == "train.csv: no rows; add some"


@pytest.mark.parametrize(
    ("url", "redacted", "name"),
    [
        ("http://me:SECRET@h:80/a.csv?sig=SECRET", "http://***@h:80/a.csv?***", "http://h:80/a.csv"),
        ("s3://KEY:SECRET@b/a-*.csv", "s3://***@b/a-*.csv", "s3://b/a-*.csv"),
        ("https://SECRET@h/a.csv", "https://***@h/a.csv", "https://h/a.csv"),
        ("https://h/a.csv#t=SECRET", "https://h/a.csv?***", "https://h/a.csv"),
        ("https://h/a.csv;s=SECRET", "https://h/a.csv?***", "https://h/a.csv"),
        ("https://h/a.csv&s=SECRET", "https://h/a.csv?***", "https://h/a.csv"),
        ("zip://a::https://m:SECRET@h/z?SECRET", "zip://a::https://***@h/z?***", "zip://a::https://h/z"),
        ("postgresql+x://m:SECRET@h:1/db", "postgresql+x://***@h:1/db", "postgresql+x://h:1/db"),
        # mistyped: a slash, the scheme or an escape is missing
        ("http:/me:SECRET@h/a.csv", "http:/***@h/a.csv", "http:/h/a.csv"),
        ("http:me:SECRET@h/a.csv", "***@h/a.csv", "h/a.csv"),
        ("https//me:SECRET@h/a.csv", "https//***@h/a.csv", "https//h/a.csv"),
        (" https://me:SECRET@h/a.csv", " https://***@h/a.csv", " https://h/a.csv"),
        ("https:\\\\me:SECRET@h\\a", "https:\\\\***@h\\a", "https:\\\\h\\a"),
        ("me:SECRET@h/a.csv?sig=SECRET", "***@h/a.csv?***", "h/a.csv"),
        ("s3://KEY:SECRET/b/a.csv", "s3://***@/b/a.csv", "s3:///b/a.csv"),
        *[
            (f"http://me:{password}@h/a.csv", "http://***@h/a.csv", "http://h/a.csv")
            for password in ("SEC/RET", "SEC@RET", "SEC?RET", "SEC#RET", "S@C/RET", "S::ECRET")
        ],
        # nothing to hide
        *[(plain, plain, plain) for plain in (
            "data/a?.csv", "data/a@b/c.csv", "data/year=2024/a.csv", "s3://b/a@b.csv",
            "http://[::1]:80/a.csv", "http://h:80/a.csv", "sqlite:////tmp/x.db", "org/model",
            "embedded:multilingual-e5-small", "../encoder",
        )],
    ],
)  # fmt: skip
def test_credentials_of_a_url_are_hidden(url: str, redacted: str, name: str) -> None:
    assert (redact(url), public_name(url)) == (redacted, name)
    assert redact(redacted) == redacted
    if url.partition(":")[2].startswith("/"):
        assert "SECRET" not in hide_credentials(f"`{url}`: not found, {url}; {url}")


def test_no_message_shows_a_credential() -> None:
    url = "http:/me:SECRET@h/a.csv"
    for error in (DataError(f"{url}: no"), FileNotFoundError(2, "No", url), ValueError(url)):
        assert "SECRET" not in message_of(error)
        assert "http:/***@h/a.csv" in message_of(error)


def test_no_plural_verb_follows_a_counted_noun() -> None:
    """As in `1 row do not show it`: choose a verb with one form, such as "can't show"."""
    wrong = re.compile(r"\bcount\([^{}]*\)\}(?: \([^()]*\))? (?:do|have|are|were)\b")
    found = []
    for file in sorted(Path(mlrun_assets.__file__).parent.rglob("*.py")):
        text = re.sub(r'"\n\s*f?"', "", file.read_text(encoding="utf-8"))  # as Python joins them
        found += [f"{file.name}: {match[0]}" for match in wrong.finditer(text)]
    assert found == []
