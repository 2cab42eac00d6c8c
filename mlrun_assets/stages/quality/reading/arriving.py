"""Lines of a pipe as they come; where none comes, whoever waits may answer meanwhile."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from typing import BinaryIO

# How long lines that are there may wait for others.
PATIENCE_SECONDS = 1.0
_CHUNK_BYTES = 1 << 16


def arriving_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of ``stream``; None whenever a second was spent on waiting since the last None.

    It is the waiting that counts, not a silence: two rows a second are never silent for long, and
    would fill a window of some thousand rows in half an hour. A file never lets anyone wait.
    What is read is the descriptor, since no one can wait for what a buffer holds.
    """
    descriptor = stream.fileno()
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    patience = PATIENCE_SECONDS
    begun: list[bytes] = []
    while True:
        asked = time.monotonic()
        ready = waiting.poll(1000 * patience)
        patience -= time.monotonic() - asked
        if not ready or patience <= 0:
            yield None
            patience = PATIENCE_SECONDS
        if not ready:
            continue
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            break
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            yield b"".join([*begun, end])
            begun.clear()
        begun.append(rest)
    yield b"".join(begun)
