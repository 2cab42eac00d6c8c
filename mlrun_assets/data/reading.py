"""A split read from its files into one frame, with the quarantined rows beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson
import polars as pl

from mlrun_assets.config import DataConfig, extra_column
from mlrun_assets.data.content import (
    WINDOWS_1252,
    Opener,
    format_of,
    from_windows_1252,
    is_windows_1252,
    open_content,
)
from mlrun_assets.data.formats import (
    arrow_batches,
    json_rows,
    parquet_batches,
    parse_batches,
    parse_json_lines,
)
from mlrun_assets.data.rows import (
    RAW_CHARACTERS,
    ParsedRow,
    Quarantine,
    QuarantinedRow,
    QuarantinedRowError,
    row_values,
)
from mlrun_assets.data.tables import parse_table
from mlrun_assets.data.text import Step, duplicate_key, normalise, shorten
from mlrun_assets.errors import DataError
from mlrun_assets.files import digest_file
from mlrun_assets.records import SourceFile


class DataFile(NamedTuple):
    """A data file: its name in messages, and its local path."""

    name: str
    path: Path


class Stray(NamedTuple):
    """The rows of an unknown label: their number, and the place of the first."""

    rows: int
    file: str
    line: int


@dataclass
class SplitRows:
    """A split; ``source`` has the names of its files for messages, ``files`` their digests.

    ``strays``: the unknown labels.
    """

    split: str
    source: str
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    quarantined: Quarantine = field(default_factory=Quarantine)
    strays: dict[str, Stray] = field(default_factory=dict)
    files: tuple[SourceFile, ...] = ()

    @property
    def rows_read(self) -> int:
        return self.frame.height + len(self.quarantined)


def read_split(
    split: str, files: Sequence[DataFile], data: DataConfig, *, whole: bool = False
) -> SplitRows:
    """Read the files of one split in order.

    Returns:
        The rows with the columns ``id``, ``text``, ``label``, ``file`` (strings), ``line`` (from 1)
        and the configured extra columns (strings or null). The id of a row without one is its
        split, file number and line. The ids of a file with an id of an earlier file get its split
        and number in front: ``train-2:7``. With ``whole``, ``row`` has all columns, as JSON.

    Raises:
        DataError: a file can't be read, or changed while it was read.
    """
    rows = SplitRows(split, ", ".join(file.name for file in files))
    frames, known = [], set[str]()
    for number, file in enumerate(files, start=1):
        place = f"{split}-{number}" if len(files) > 1 else split
        with _unchanged(file):
            frame, quarantined, how = _read_file(split, file, data, place, whole)
            size, digest = file.path.stat().st_size, digest_file(file.path)
        if not known.isdisjoint(frame["id"]):
            frame = frame.with_columns(id=pl.format("{}:{}", pl.lit(place), "id"))
        known.update(frame["id"])
        frames.append(frame)
        rows.quarantined += quarantined
        source = SourceFile(
            name=file.name,
            digest=digest,
            size_bytes=size,
            rows_read=frame.height + len(quarantined),
            **how,
        )
        rows.files += (source,)
    rows.frame = pl.concat(frames)
    return rows


def _read_file(
    split: str, file: DataFile, data: DataConfig, place: str, whole: bool
) -> tuple[pl.DataFrame, Quarantine, dict[str, Any]]:
    """The rows of a file, those that are quarantined, and how the file was read."""
    kept: list[dict[str, Any]] = []
    quarantined, joined, encoding = Quarantine(), 0, ""
    for parsed in parse_file(file, data, whole=whole):
        line = parsed.line
        joined, encoding = joined + parsed.lines - 1, parsed.encoding
        try:
            if isinstance(parsed.row, QuarantinedRowError):
                raise parsed.row
            values = row_values(parsed.row, f"{place}-{line}", data)
            added = {"row": orjson.dumps(parsed.row, default=str)} if whole else {}
            kept.append({**values, **added, "line": line})
            if len(kept) > data.max_rows:
                why = f"more than {data.max_rows:,} rows; take a sample, or raise data.max_rows"
                raise DataError(f"{file.name}: {why}")
        except QuarantinedRowError as bad:
            raw = parsed.shown() if quarantined.keeps(bad.reason) else ""
            row = QuarantinedRow(split, file.name, line, bad.reason, bad.detail, raw)
            quarantined.add(bad.reason, [row])
    extra = map(extra_column, data.extra_columns)
    schema = {name: pl.String() for name in ("id", "text", "label", "line", *extra)}
    more = {"line": pl.Int64(), **({"row": pl.Binary()} if whole else {})}
    frame = pl.DataFrame(kept, schema={**schema, **more}, orient="row")
    how = {"joined_lines": joined, "encoding": encoding}
    return frame.with_columns(pl.lit(file.name, dtype=pl.String).alias("file")), quarantined, how


def parse_file(
    file: DataFile, data: DataConfig, *, whole: bool = False, most_bytes: int | None = None
) -> Iterator[ParsedRow]:
    """Parse a file of any format; ``whole`` rows keep all their columns.

    With ``most_bytes``, no more of a CSV or TSV file is read: the other formats are read row by
    row.

    Raises:
        DataError: the file is damaged or not of its format, or lacks a column.
        OSError: the file can't be opened or read.
    """
    kind = format_of(file.name) or ""
    if kind in ("parquet", "arrow"):
        batches = parquet_batches if kind == "parquet" else arrow_batches
        yield from parse_batches(batches, file.path, data, file.name, whole=whole)
        return
    opened = partial(open_content, file.path, file.name, data.max_file_mb)
    if kind in ("csv", "tsv"):
        start = opened if most_bytes is None else partial(_open_start, opened, most_bytes)
        if not is_windows_1252(start):
            yield from parse_table(start, kind, data, file.name)
            return
        for row in parse_table(partial(from_windows_1252, start), kind, data, file.name):
            yield row._replace(encoding=WINDOWS_1252)
        return
    with opened() as content:
        limit = int(data.max_row_mb * 1e6)
        rows = json_rows(content, file.name, limit)
        yield from filter(None, parse_json_lines(rows, limit, whole=whole))


@contextmanager
def _open_start(opened: Opener, most_bytes: int) -> Iterator[BinaryIO]:
    """The lines in the first bytes of a file."""
    with opened() as content:
        start = content.read(most_bytes)
    yield BytesIO(start if len(start) < most_bytes else start[: start.rfind(b"\n") + 1])


@contextmanager
def _unchanged(file: DataFile) -> Iterator[None]:
    """Fail if the file changes, so that its rows and its digest come from the same bytes."""
    state = attrgetter("st_ino", "st_size", "st_mtime_ns")
    with readable(file.name):
        before = state(file.path.stat())
        yield
        after = state(file.path.stat())
    if before != after:
        raise DataError(f"{file.name}: was written to while it was read; run again later")


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn an OSError of the block into the DataError that ``name`` can't be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{name}: can't be read: {error.strerror or error}") from None


# The columns of all formats: schema, normal form

# Reason and detail by column; the detail names the value.
_REASONS = {
    "text": ("empty text", "empty after white space is stripped"),
    "label": ("unknown label", "`{}` is not a known label"),
    "id": (
        "id seen before",
        "an earlier row has the id `{}`; set data.id_column to a column of unique ids, or to false",
    ),
}


def enforce_schema(
    rows: SplitRows, labels: tuple[str, ...], unknown: Mapping[str, str] | None = None
) -> SplitRows:
    """Quarantine rows with an empty text, a label outside ``labels`` or a repeated id.

    ``unknown``: why a label is not known. The first row with an id is kept. The frame must be
    eager, and pandera's settings are fixed: of a lazy frame, and with other settings, it validates
    the types only or nothing.
    """
    import pandera.polars as pa
    from pandera.config import ValidationDepth, config_context
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(pl.String, unique=True),
            "text": pa.Column(pl.String, pa.Check.str_matches(r"\S")),
            "label": pa.Column(pl.String, pa.Check.isin(list(labels))),
        }
    )
    depth = ValidationDepth.SCHEMA_AND_DATA
    try:
        with config_context(validation_enabled=True, validation_depth=depth):
            schema.validate(rows.frame, lazy=True)
        return rows
    except SchemaErrors as error:
        failures = error.failure_cases.select("column", "index")
    # One column for each row, the first in the order of the schema.
    first_of_id = rows.frame["id"].is_first_distinct().arg_true()
    failures = failures.filter((pl.col("column") != "id") | ~pl.col("index").is_in(first_of_id))
    failed = failures.unique("index", keep="first").sort("index")
    bad = rows.frame[failed["index"]].with_columns(column=failed["column"])
    aside = Quarantine()
    for column, (reason, _) in _REASONS.items():
        of_column = bad.filter(pl.col("column") == column)
        aside.add(reason, _set_aside(rows.split, of_column, unknown or {}), of_column.height)
    place = {"rows": pl.len(), "file": pl.first("file"), "line": pl.first("line")}
    unknown_labels = bad.filter(pl.col("column") == "label").group_by("label", maintain_order=True)
    return replace(
        rows,
        frame=rows.frame.filter(~pl.int_range(pl.len()).is_in(failed["index"].implode())),
        quarantined=rows.quarantined + aside,
        strays={
            label: Stray(*others) for label, *others in unknown_labels.agg(**place).iter_rows()
        },
    )


def _set_aside(
    split: str, bad: pl.DataFrame, unknown: Mapping[str, str]
) -> Iterator[QuarantinedRow]:
    """The rows of ``bad`` as quarantined rows; their ``column`` is the one that is wrong."""
    for row in bad.iter_rows(named=True):
        column = row["column"]
        reason, detail = _REASONS[column]
        detail = detail.format(shorten(row[column], 60))
        if column == "label" and (why := unknown.get(row["label"])):
            detail += f": {why}"
        raw = shorten(row["text"], RAW_CHARACTERS)
        yield QuarantinedRow(split, row["file"], row["line"], reason, detail, raw)


# Printable ASCII with single spaces and without backticks is normal in any orthography.
# Only texts that match this are normalised, which saves time.
_PERHAPS_IRREGULAR = r"[^ -~]|`|  |^ | $"


def normalise_rows(rows: SplitRows, steps: frozenset[Step]) -> tuple[SplitRows, Counter[str]]:
    """Normalise the texts and labels, and count the changes by kind.

    The column ``raw`` keeps the original text for the checks; ``key`` is what equal texts share.
    """
    texts = rows.frame["text"]
    positions = texts.str.contains(_PERHAPS_IRREGULAR).arg_true()
    results = [normalise(text, steps) for text in texts.gather(positions)]
    changes: Counter[str] = Counter()
    for result in results:
        changes.update({step.value: count for step, count in result.changes.items()})
    normal = pl.Series([result.text for result in results], dtype=pl.String)
    stored = texts.clone().scatter(positions, normal)
    keys = pl.Series([duplicate_key(text) for text in stored], dtype=pl.String)
    labels = rows.frame["label"]
    spelled = {label: normalise(label, steps).text for label in labels.unique().drop_nulls()}
    named = labels.replace(spelled)
    changes["labels in normal form"] = int((named != labels).sum())
    columns = {"raw": texts, "text": stored, "key": keys, "label": named}
    return replace(rows, frame=rows.frame.with_columns(**columns)), +changes
