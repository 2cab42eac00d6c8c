"""Advice by the kind of an operating-system error."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from mlrun_assets.errors import DataError, message_of

ROOM, PERMISSION, READ_ONLY = "make room", "permissions", "read-only"
PATH, NETWORK = "check the path", "check the network"
ALL_ADVICE = {ROOM, PERMISSION, READ_ONLY, PATH, NETWORK}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, ROOM),
        (errno.EDQUOT, ROOM),
        (errno.EACCES, PERMISSION),
        (errno.EPERM, PERMISSION),
        (errno.EROFS, READ_ONLY),
        (errno.ENOENT, PATH),
        (errno.ENOTDIR, PATH),
        (errno.ECONNREFUSED, NETWORK),
        (errno.ECONNRESET, NETWORK),
        (errno.ETIMEDOUT, NETWORK),
        (errno.EHOSTUNREACH, NETWORK),
        (errno.EISDIR, None),
        (errno.EIO, None),
    ],
)
def test_advice_fits_the_error_number(number: int, advice: str | None) -> None:
    message = message_of(OSError(number, os.strerror(number), "a.csv"))
    assert message.startswith(f"a.csv: {os.strerror(number)}")
    assert {each for each in ALL_ADVICE if each in message} == ({advice} if advice else set())


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
    message = message_of(error)
    assert {each for each in ALL_ADVICE if each in message} == {NETWORK}
    assert "file" not in message


def test_the_message_of_an_own_error_stays_as_it_is() -> None:
    assert message_of(DataError("train.csv: no rows; add some")) == "train.csv: no rows; add some"
