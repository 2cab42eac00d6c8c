"""Parquet to rows, in the ordinary case of the columns that the config names only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlrun_assets.config import DataConfig
from mlrun_assets.errors import DataError
from mlrun_assets.stages.quality.reading.rows import Parsed, check_columns
from mlrun_assets.text import shorten

# As many rows at once as take some million bytes.
BATCH_ROWS = 1000
BATCH_BYTES = 1 << 23
_BUFFER_BYTES = 1 << 20


def parse_parquet(
    path: Path, data: DataConfig, name: str, *, whole: bool = False
) -> Iterator[Parsed]:
    """The rows of a file; their line is the number of the row, and a batch of them is in memory.

    Read with Arrow, since polars panics over some damaged files. ``whole`` rows have all columns,
    not only those that the config names.

    Raises:
        DataError: it is no Parquet file, is damaged, or lacks a column.
    """
    import pyarrow as pa

    line = 0
    try:
        with _opened(path) as file:
            columns = check_columns(file.schema_arrow.names, data, name)
            rows = _rows_at_once(file.metadata)
            for batch in file.iter_batches(rows, columns=None if whole else columns):
                size = batch.nbytes // max(1, batch.num_rows)
                for row in batch.to_pylist():
                    line += 1
                    yield Parsed(line, None, row, size)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # Arrow also raises plain OSError and ValueError, for bytes that make no sense.
        why = shorten(str(error), 160).rstrip(".")
        raise DataError(
            f"{name}: not a Parquet file that can be read (after row {line}): {why}; write it again"
        ) from None


def _opened(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    # Else each column of a row group is read whole, and files of one large group are common.
    return ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _rows_at_once(metadata: Any) -> int:
    """Rows of a batch, by the mean size of a row in the group where that is largest."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES / max(1, largest))))
