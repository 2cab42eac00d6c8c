"""Rows without labels: the texts to label next, and the rows to predict, also from a pipe."""

from __future__ import annotations

import hashlib
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.leakage import holders
from mlrun_assets.data.checks.near_duplicates import SHINGLE_WORDS, find_near_matches
from mlrun_assets.data.formats import parse_json_lines
from mlrun_assets.data.reading import (
    DataFile,
    SplitRows,
    normalise_rows,
    parse_file,
    read_split,
    readable,
)
from mlrun_assets.data.rows import ParsedRow
from mlrun_assets.data.sources import UNLABELLED
from mlrun_assets.data.text import language_profile
from mlrun_assets.errors import DataError, count
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import UnlabelledTexts


def read_unlabelled(files: Sequence[DataFile], data: DataConfig) -> SplitRows:
    """Read only the text columns of ``files``, in normal form.

    Raises:
        DataError: a file can't be read, or all rows are quarantined.
    """
    rows = read_split(UNLABELLED, files, data.texts_only())
    if rows.frame.is_empty():
        first = next(iter(rows.quarantined), None)
        why = f"the first: {first.detail}" if first else "there is none"
        raise DataError(
            f"data.unlabelled_path: {rows.source}: no row can be used ({why}); correct "
            "data.unlabelled_path or data.text_columns"
        )
    normal, _ = normalise_rows(rows, language_profile(data.language).steps)
    return normal


def keep_unlabelled(rows: SplitRows, dataset: Dataset, directory: Path) -> UnlabelledTexts:
    """Write the texts that may be labelled next to ``data/unlabelled.parquet``.

    Left out are repeated texts, texts of train, which have a label, and texts that are like those
    of val or test: once labelled they would be trained on, and leak into the evaluation.

    Raises:
        DataError: no text is left.
    """
    kept = rows.frame.select("id", "text", "file", "line", "key")
    left_out = {"can't be read": len(rows.quarantined)}
    unwanted: dict[str, Callable[[pl.Series], pl.Series]] = {
        "empty": lambda keys: keys == "",
        "repeated": lambda keys: ~keys.is_first_distinct(),
        "also in train": lambda keys: keys.is_in(dataset.keys("train").implode()),
        "known from val or test": lambda keys: _known(keys, dataset),
    }
    for reason, is_unwanted in unwanted.items():
        without = kept.filter(~is_unwanted(kept["key"]))
        left_out[reason] = kept.height - without.height
        kept = without
    if kept.is_empty():
        reasons = ", ".join(f"{reason}: {rows}" for reason, rows in left_out.items() if rows)
        raise DataError(
            f"data.unlabelled_path: {rows.source}: none of "
            f"{count(rows.rows_read, 'text')} is left ({reasons}); name texts that are not in "
            "the splits"
        )
    digest = hashlib.sha256()
    for text in kept["text"]:
        digest.update(orjson.dumps(text) + b"\n")
    paths = ExperimentPaths(directory)
    paths.data.mkdir(parents=True, exist_ok=True)
    kept.drop("key").write_parquet(paths.unlabelled)
    return UnlabelledTexts(
        files=rows.files,
        file=paths.relative(paths.unlabelled),
        digest=f"sha256:{digest.hexdigest()}",
        rows_read=rows.rows_read,
        rows_kept=kept.height,
        left_out={reason: texts for reason, texts in left_out.items() if texts},
    )


def _known(keys: pl.Series, dataset: Dataset) -> pl.Series:
    """True for texts that equal, nearly equal or contain a text, or a long passage, of val or test.

    The limits are those of the checks `near_duplicates` and `split_leakage` (where it warns). Texts
    of fewer than five words are not searched for, because other texts contain them by chance.
    """
    quality = dataset.config.quality
    held_out = {split: dataset.keys(split) for split in ("val", "test")}
    near = find_near_matches({**held_out, UNLABELLED: keys}, quality.near_duplicate_similarity)
    known = np.zeros(len(keys), dtype=bool)
    for split, others in held_out.items():
        for partners in (near.equal(UNLABELLED, split), near.near(UNLABELLED, split)):
            known[partners["row"].to_numpy()] = True
        whole = others.filter(others.str.count_matches(" ") >= SHINGLE_WORDS - 1)
        known |= (" " + keys + " ").str.contains_any((" " + whole + " ").implode()).to_numpy()
        known[holders(others, keys, quality.containment_warns)] = True
    return pl.Series(known)


# Rows to predict


def read_whole_rows(file: DataFile, data: DataConfig) -> Iterator[ParsedRow]:
    """The rows of a data file with all their columns; only the text columns are required.

    Raises:
        DataError: the file can't be read, or lacks a text column.
    """
    with readable(file.name):
        yield from parse_file(file, data.texts_only(), whole=True)


def read_stream(stream: BinaryIO, name: str, data: DataConfig) -> Iterator[ParsedRow | None]:
    """The JSON Lines of a pipe as they arrive; None after a while without new ones.

    Raises:
        DataError: the pipe can't be read.
    """
    with readable(name):
        limit = int(data.max_row_mb * 1e6)
        yield from parse_json_lines(pipe_lines(stream, limit), limit, whole=True)


def pipe_lines(stream: BinaryIO, limit: int, patience: float = 1.0) -> Iterator[bytes | None]:
    """The lines of a pipe, about ``limit`` bytes of each; None after each ``patience`` seconds.

    The caller answers the lines it has when it gets None. The waiting times are added up: a pipe
    with two rows a second never pauses for long, but would fill a window of some thousand rows in
    half an hour only. A file yields no None. The descriptor is read, not the buffer of ``stream``,
    because `select.poll` can't see the content of a buffer.
    """
    descriptor = stream.fileno()
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    left = patience
    begun: list[bytes] = []
    size = 0
    while True:
        asked = time.monotonic()
        ready = waiting.poll(1000 * left)
        left -= time.monotonic() - asked
        if not ready or left <= 0:
            yield None
            left = patience
        if not ready:
            continue
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            break
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            yield b"".join([*begun, end])
            begun.clear()
            size = 0
        if size <= limit:
            begun.append(rest)
            size += len(rest)
    yield b"".join(begun)
