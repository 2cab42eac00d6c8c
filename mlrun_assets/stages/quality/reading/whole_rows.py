"""Rows without labels, with all their keys, one after another: no file is held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import DataError
from mlrun_assets.stages.quality.reading.arriving import arriving_lines
from mlrun_assets.stages.quality.reading.json_lines import parse_json_lines
from mlrun_assets.stages.quality.reading.rows import Parsed
from mlrun_assets.stages.quality.reading.splits import DataFile, parse_file


def read_whole_rows(file: DataFile, data: DataConfig) -> Iterator[Parsed]:
    """The rows of a file of any format that a split may have; only the texts must be there.

    Raises:
        DataError: the file as a whole can't be read, or lacks a column of the text.
    """
    with _readable(file.name):
        yield from parse_file(file, data.texts_only(), whole=True)


def read_stream(stream: BinaryIO, name: str) -> Iterator[Parsed | None]:
    """The JSON Lines of a pipe, as they come; None where nothing more has come for a while.

    Raises:
        DataError: it can't be read.
    """
    with _readable(name):
        yield from parse_json_lines(arriving_lines(stream), whole=True)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: can't be read: {error.strerror or error}") from None
