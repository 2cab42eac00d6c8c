"""Lines of a pipe, and when none came."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.data import unlabelled as arriving
from mlrun_assets.data.unlabelled import pipe_lines


@given(st.lists(st.binary(max_size=200), max_size=20).map(b"\n".join), st.integers(1, 9))
def test_lines_are_those_of_a_file_however_they_are_cut(content: bytes, size: int) -> None:
    reader, writer = os.pipe()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]

    def write() -> None:
        with open(writer, "wb", buffering=0) as pipe:  # noqa: PTH123  a descriptor
            pipe.writelines(pieces)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, "rb") as pipe:  # noqa: PTH123  a descriptor
        found = list(pipe_lines(pipe))
    thread.join()
    expected = [line.removesuffix(b"\n") for line in io.BytesIO(content)]
    assert [line for line in found if line] == [line for line in expected if line]


def test_a_file_lets_no_one_wait(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"line\n" * 100_000)
    with (tmp_path / "rows").open("rb") as file:
        assert list(pipe_lines(file)) == [b"line"] * 100_000 + [b""]


def test_rows_that_trickle_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comes before patience is lost with it, but not with all of them."""
    now, arrivals = 0.0, iter([b"a\n", b"b\n", b"c", b"\n", b"d\n", b""])

    class Clock:
        def register(self, descriptor: int, events: int) -> None: ...

        def poll(self, milliseconds: float) -> bool:
            nonlocal now
            now += 0.4
            return True

    monkeypatch.setattr(arriving.select, "poll", Clock)
    monkeypatch.setattr(arriving.time, "monotonic", lambda: now)
    monkeypatch.setattr(arriving.os, "read", lambda descriptor, size: next(arrivals))

    def told() -> Iterator[bytes | None]:
        with Path(os.devnull).open("rb") as file:
            yield from pipe_lines(file)

    assert list(told()) == [b"a", b"b", None, b"c", b"d", None, b""]
