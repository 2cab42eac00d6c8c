"""Parquet to rows, in the ordinary case of the columns that the config names only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import DataError
from mlrun_assets.stages.quality.reading.rows import Parsed, check_columns
from mlrun_assets.text import shorten

BATCH_ROWS = 10_000


def parse_parquet(
    path: Path, data: DataConfig, name: str, *, whole: bool = False
) -> Iterator[Parsed]:
    """The rows of a file; their line is the number of the row.

    Read with Arrow, since polars panics over some damaged files. ``whole`` rows have all columns,
    not only those that the config names.

    Raises:
        DataError: it is no Parquet file, is damaged, or lacks a column.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    line = 0
    try:
        with ParquetFile(path) as file:
            columns = check_columns(file.schema_arrow.names, data, name)
            for batch in file.iter_batches(BATCH_ROWS, columns=None if whole else columns):
                for row in batch.to_pylist():
                    line += 1
                    yield Parsed(line, None, row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # Arrow also raises plain OSError and ValueError, for bytes that make no sense.
        why = shorten(str(error), 160).rstrip(".")
        raise DataError(
            f"{name}: not a Parquet file that can be read (after row {line}): {why}; write it again"
        ) from None
