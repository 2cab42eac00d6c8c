"""Advice by the kind of an operating-system error."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from mlrun_assets.errors import DataError, message_of

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
        ([errno.EISDIR, errno.EIO], []),
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


def test_the_message_of_an_own_error_stays_as_it_is() -> None:
    assert message_of(DataError("train.csv: no rows; add some")) == "train.csv: no rows; add some"
