"""Texts without labels: what of them pretraining may read."""

from __future__ import annotations

import hashlib
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from mlrun_assets.data.reading import DataFile, SplitRows, normalise_rows, parse_file, read_split
from mlrun_assets.data.rows import ParsedRow
from mlrun_assets.data.sources import UNLABELLED
from mlrun_assets.data.text import duplicate_key, language_profile
from mlrun_assets.errors import DataError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import UnlabelledTexts

JUDGED_BY = ("val", "test")


def read_unlabelled(files: Sequence[DataFile], data: DataConfig) -> SplitRows:
    """The rows of ``files``, of which only the text columns are read, in their normal form.

    Raises:
        DataError: a file as a whole can't be read, or none of their rows.
    """
    rows = read_split(UNLABELLED, files, data.texts_only())
    if rows.frame.is_empty():
        why = (
            f"the first is not: {rows.quarantined[0].detail}"
            if rows.quarantined
            else "there is none"
        )
        raise DataError(
            f"data.unlabelled_path: {rows.source}: no row of it can be used ({why}); correct "
            "data.unlabelled_path, or data.text_columns, which are read of it too"
        )
    normal, _ = normalise_rows(rows, language_profile(data.language).steps)
    return normal


def keep_unlabelled(rows: SplitRows, dataset: Dataset, directory: Path) -> UnlabelledTexts:
    """Write the texts that pretraining may read to ``data/unlabelled.parquet``.

    Left out are those that stand twice or in train, which is read as well, and all that are known
    from val or test: what a model is judged by it must not have seen.

    Raises:
        DataError: no text is left.
    """
    keys = pl.Series("key", [duplicate_key(text) for text in rows.frame["text"]], dtype=pl.String)
    kept = rows.frame.with_columns(keys).select("id", "text", "file", "line", "key")
    left_out = {"can't be read": len(rows.quarantined)}
    unwanted: dict[str, Callable[[pl.Series], pl.Series]] = {
        "empty": lambda keys: keys == "",
        "stands twice": lambda keys: ~keys.is_first_distinct(),
        "stands in train": lambda keys: keys.is_in(dataset.keys("train").implode()),
        "known from val or test": lambda keys: _known(keys, dataset),
    }
    for reason, is_unwanted in unwanted.items():
        without = kept.filter(~is_unwanted(kept["key"]))
        left_out[reason] = kept.height - without.height
        kept = without
    if kept.is_empty():
        said = ", ".join(f"{reason}: {count}" for reason, count in left_out.items() if count)
        raise DataError(
            f"data.unlabelled_path: {rows.source}: none of its {rows.rows_read:,} texts can be "
            f"learned from ({said}): name texts that are not in the splits"
        )
    paths = ExperimentPaths(directory)
    paths.data.mkdir(parents=True, exist_ok=True)
    kept.drop("key").write_parquet(paths.unlabelled)
    return UnlabelledTexts(
        files=rows.files,
        file=paths.relative(paths.unlabelled),
        digest=_digest(kept["text"]),
        rows_read=rows.rows_read,
        rows_kept=kept.height,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _known(keys: pl.Series, dataset: Dataset) -> pl.Series:
    """Which of ``keys`` are a text of val or test, nearly are, or hold one or a long passage of it.

    The thresholds are those of the checks `near_duplicates` and `split_leakage`, where the latter
    begins to warn. A text of fewer than five words may stand anywhere by chance.
    """
    quality = dataset.config.quality
    judged = {split: dataset.keys(split) for split in JUDGED_BY}
    near = find_near_matches({**judged, UNLABELLED: keys}, quality.near_duplicate_similarity)
    known = np.zeros(len(keys), dtype=bool)
    for split, others in judged.items():
        known |= near.equal(UNLABELLED, split) | near.near(UNLABELLED, split)
        whole = others.filter(others.str.count_matches(" ") >= SHINGLE_WORDS - 1)
        known |= (" " + keys + " ").str.contains_any((" " + whole + " ").implode()).to_numpy()
        known[holders(others, keys, quality.containment_warns)] = True
    return pl.Series(known)


def _digest(texts: pl.Series) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(orjson.dumps(text) + b"\n")
    return f"sha256:{digest.hexdigest()}"


# How long lines that are there may wait for others.
PATIENCE_SECONDS = 1.0
_CHUNK_BYTES = 1 << 16


def pipe_lines(stream: BinaryIO) -> Iterator[bytes | None]:
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


def read_whole_rows(file: DataFile, data: DataConfig) -> Iterator[ParsedRow]:
    """The rows of a file of any format that a split may have; only the texts must be there.

    Raises:
        DataError: the file as a whole can't be read, or lacks a column of the text.
    """
    with _readable(file.name):
        yield from parse_file(file, data.texts_only(), whole=True)


def read_stream(stream: BinaryIO, name: str) -> Iterator[ParsedRow | None]:
    """The JSON Lines of a pipe, as they come; None where nothing more has come for a while.

    Raises:
        DataError: it can't be read.
    """
    with _readable(name):
        yield from parse_json_lines(pipe_lines(stream), whole=True)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: can't be read: {error.strerror or error}") from None
