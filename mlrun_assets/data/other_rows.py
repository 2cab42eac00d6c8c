"""Rows of no split: helper rows, texts to label next, and rows to predict, also from a pipe."""

from __future__ import annotations

import hashlib
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.leakage import holders
from mlrun_assets.data.checks.near_duplicates import SHINGLE_WORDS, find_near_matches
from mlrun_assets.data.formats import BYTE_ORDER_MARK, parse_json_lines
from mlrun_assets.data.reading import (
    DataFile,
    SplitRows,
    normalise_rows,
    parse_file,
    read_split,
    readable,
)
from mlrun_assets.data.rows import (
    NOT_UTF8,
    RAW_BYTES,
    ParsedRow,
    QuarantinedRowError,
    name_labels,
    row_too_long,
)
from mlrun_assets.data.sources import AUXILIARY, UNLABELLED
from mlrun_assets.data.text import language_profile
from mlrun_assets.errors import DataError, count, listed
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.metrics import label_numbers
from mlrun_assets.records import SPLITS, DatasetRecord, HelperRows, UnlabelledTexts
from mlrun_assets.types import LabelIds


def read_helper_rows(
    files: Sequence[DataFile], data: DataConfig, labels: tuple[str, ...]
) -> SplitRows:
    """Read the text columns and the label of ``files``, in normal form.

    Raises:
        DataError: a file can't be read, all rows are quarantined, or a label is not in ``labels``.
    """
    rows = _read(AUXILIARY, files, data.for_helper_rows(), "its columns")
    if data.labels:
        name_labels({AUXILIARY: rows}, data)  # indices become names
    unknown = rows.frame.filter(~pl.col("label").is_in(labels))
    if labels and not unknown.is_empty():
        first = unknown.row(0, named=True)
        others = unknown["label"].unique(maintain_order=True)
        raise DataError(
            f"data.auxiliary_path: {first['file']}, line {first['line']}: `{first['label']}` is "
            f"not a label of the data ({listed(labels, most=10)}); "
            f"{count(unknown.height, 'helper row')} with {count(len(others), 'unknown label')}: "
            f"rename or remove {'it' if unknown.height == 1 else 'them'}"
        )
    return rows


def read_unlabelled(files: Sequence[DataFile], data: DataConfig) -> SplitRows:
    """Read only the text columns of ``files``, in normal form.

    Raises:
        DataError: a file can't be read, or all rows are quarantined.
    """
    return _read(UNLABELLED, files, data.texts_only(), "data.text_columns")


def _read(name: str, files: Sequence[DataFile], data: DataConfig, columns: str) -> SplitRows:
    rows = read_split(name, files, data)
    if rows.frame.is_empty():
        first = next(iter(rows.quarantined), None)
        why = f"the first: {first.detail}" if first else "there is none"
        raise DataError(
            f"data.{name}_path: {rows.source}: no row can be used ({why}); correct "
            f"data.{name}_path or {columns}"
        )
    normal, _ = normalise_rows(rows, language_profile(data.language).steps)
    return normal


def keep_helper_rows(rows: SplitRows, dataset: Dataset, directory: Path) -> HelperRows:
    """Write the rows that may be trained on to ``data/auxiliary.parquet``.

    Left out are repeated texts and texts that are like those of a split: those of val or test would
    leak into the evaluation, those of train into cross-validation, in which all helper rows are
    trained on.

    Raises:
        DataError: no row is left.
    """
    unwanted: dict[str, _Condition] = {"known from train, val or test": partial(_known, dataset)}
    kept, left_out = _filter(rows, unwanted, "name rows that are not in the splits")
    rows_of = dict(kept["label"].value_counts().iter_rows())
    return HelperRows(
        label_rows={label: rows_of.get(label, 0) for label in dataset.labels},
        **_write(rows, kept.drop("key"), left_out, ExperimentPaths(directory).auxiliary),
    )


def stored_helper_rows(directory: Path, dataset: DatasetRecord) -> tuple[list[str], LabelIds]:
    """The texts and label numbers of the helper rows that were kept; none if there are none."""
    if dataset.auxiliary is None:
        return [], np.zeros(0, dtype=np.int64)
    frame = pl.read_parquet(directory / dataset.auxiliary.file, glob=False)
    return frame["text"].to_list(), label_numbers(frame["label"], dataset.labels)


def keep_unlabelled(rows: SplitRows, dataset: Dataset, directory: Path) -> UnlabelledTexts:
    """Write the texts that may be labelled next to ``data/unlabelled.parquet``.

    Left out are repeated texts, texts of train, which have a label, and texts that are like those
    of val or test: once labelled they would be trained on, and leak into the evaluation.

    Raises:
        DataError: no text is left.
    """
    unwanted: dict[str, _Condition] = {
        "also in train": lambda keys: keys.is_in(dataset.keys("train").implode()),
        "known from val or test": partial(_known, dataset, splits=("val", "test")),
    }
    kept, left_out = _filter(rows, unwanted, "name texts that are not in the splits")
    kept = kept.drop("key", "label")
    return UnlabelledTexts(
        **_write(rows, kept, left_out, ExperimentPaths(directory).unlabelled),
    )


_Condition = Callable[[pl.Series], pl.Series]


def _filter(
    rows: SplitRows, unwanted: Mapping[str, _Condition], advice: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows whose keys meet no condition, and how many were left out by reason.

    Raises:
        DataError: no row is left.
    """
    kept = rows.frame.select("id", "text", "label", "file", "line", "key")
    left_out = {"can't be read": len(rows.quarantined)}
    always: dict[str, _Condition] = {
        "empty": lambda keys: keys == "",
        "repeated": lambda keys: ~keys.is_first_distinct(),
    }
    for reason, is_unwanted in {**always, **unwanted}.items():
        without = kept.filter(~is_unwanted(kept["key"]))
        left_out[reason] = kept.height - without.height
        kept = without
    if kept.is_empty():
        reasons = ", ".join(f"{reason}: {rows}" for reason, rows in left_out.items() if rows)
        raise DataError(
            f"data.{rows.split}_path: {rows.source}: none of {count(rows.rows_read, 'text')} is "
            f"left ({reasons}); {advice}"
        )
    return kept, {reason: number for reason, number in left_out.items() if number}


def _write(
    rows: SplitRows, kept: pl.DataFrame, left_out: dict[str, int], file: Path
) -> dict[str, Any]:
    """Write ``kept`` to ``file``; return the fields of its record."""
    digest = hashlib.sha256()
    for row in kept.select(pl.exclude("id", "file", "line")).iter_rows():
        digest.update(orjson.dumps(row if len(row) > 1 else row[0]) + b"\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    kept.write_parquet(file)
    return {
        "files": rows.files,
        "file": f"data/{file.name}",
        "digest": f"sha256:{digest.hexdigest()}",
        "rows_read": rows.rows_read,
        "rows_kept": kept.height,
        "left_out": left_out,
    }


def _known(dataset: Dataset, keys: pl.Series, splits: Sequence[str] = SPLITS) -> pl.Series:
    """True for texts that equal, nearly equal or contain a text, or a long passage, of ``splits``.

    The limits are those of the checks `near_duplicates` and `split_leakage` (where it warns). Texts
    of fewer than five words are not searched for, because other texts contain them by chance.
    """
    quality = dataset.config.quality
    held_out = {split: dataset.keys(split) for split in splits}
    near = find_near_matches({**held_out, "": keys}, quality.near_duplicate_similarity)
    known = np.zeros(len(keys), dtype=bool)
    for split, others in held_out.items():
        for partners in (near.equal("", split), near.near("", split)):
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
    """The rows of a pipe as they arrive; None after a while without new ones.

    They are JSON Lines if the first begins like an object. Otherwise each line is a text.

    Raises:
        DataError: the pipe can't be read.
    """
    with readable(name):
        limit = int(data.max_row_mb * 1e6)
        lines, before = pipe_lines(stream, limit), list[bytes]()
        for content in lines:
            if content is None:
                yield None
                continue
            before.append(content)
            if start := content.removeprefix(BYTE_ORDER_MARK).strip():
                every = chain(before, lines)
                if start.startswith((b"{", b"[{")):
                    yield from parse_json_lines(every, limit, whole=True)
                else:
                    yield from _parse_texts(every, limit, data)
                break


def _parse_texts(
    lines: Iterable[bytes | None], limit: int, data: DataConfig
) -> Iterator[ParsedRow | None]:
    line = 0
    for content in lines:
        line += content is not None
        text = (content or b"").removeprefix(BYTE_ORDER_MARK).strip()
        if content is None:
            yield None
        elif len(content) > limit:
            yield ParsedRow(line, content[:RAW_BYTES], row_too_long(limit))
        elif text:
            yield ParsedRow(line, text, row_of_text(text, data))


def row_of_text(text: bytes, data: DataConfig) -> dict[str, Any] | QuarantinedRowError:
    """A row with ``text`` in the first text column; the others are empty."""
    try:
        known = text.decode("utf-8")
    except UnicodeDecodeError:
        return QuarantinedRowError(*NOT_UTF8)
    return {**dict.fromkeys(data.text_columns), data.text_columns[0]: known}


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
